"""Servers in Docker: the engine, their network, and their image, which is built on the host."""

from __future__ import annotations

import json
from typing import NoReturn

from pyinfra import logger
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead import groups, hub, network, parts, people
from hubstead.operations import (
    accounts,
    checks,
    docker,
    docker_daemon,
    files,
    packages,
    releases,
    units,
)
from hubstead.operations.addresses import Interface
from hubstead.parts import Spawner
from hubstead.programs import program
from hubstead.progress import summarise
from hubstead.render import render
from hubstead.settings.base import BaseSettings
from hubstead.settings.docker import DockerSettings
from hubstead.settings.groups import GroupsSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.site import Site
from hubstead.texts import in_bytes

NETWORK = "hubstead"
IMAGE = "hubstead/singleuser"
BASE = "hubstead/base"
#: In the image
PYTHON = "/opt/jupyter/bin/python"
#: The build context of the users' image
CONTEXT = "/opt/hubstead/singleuser"
UNIT = "hubstead-users-image"
_SERVICE, _TIMER = (f"/etc/systemd/system/{UNIT}.{suffix}" for suffix in ("service", "timer"))
_HOLDER = f"/etc/systemd/system/{docker.HOLDER}.service"
#: What the Hub asks in the place of Docker, and what it may ask
FILTER = "hubstead-docker-filter"
SOCKET = f"/run/{FILTER}.sock"
POLICY = "/etc/hubstead/docker-filter.json"
_PROGRAM = "/usr/local/lib/hubstead/docker-filter"
_LISTENER, _FILTER = (f"/etc/systemd/system/{FILTER}.{suffix}" for suffix in ("socket", "service"))
#: Packages that bring a `docker` of somebody else's, and where snap's is
OTHERS = ("docker-ce", "docker-ee", "containerd.io", "moby-engine", "podman-docker")
SNAP = "/snap/bin/docker"
#: Ends those of them that Docker has lost
_STRAYS = "/usr/local/lib/hubstead/stray-servers"


def server_prefix(owner: str) -> str:
    """What names of somebody's servers begin with. `owner`: as the spawner escapes the name."""
    return f"hubstead-{owner}--"


def context(site: Site) -> dict[str, files.File]:
    """The build context of the users' image on the host at hand."""
    settings, base = site[DockerSettings], site[BaseSettings]
    codename = site.machine.codename
    archive = settings.docker_base_archives.get(codename)
    imported = f"{BASE}:{docker.archive_tag(archive)}" if archive else None
    dockerfile = render(
        "docker",
        f"{CONTEXT}/Dockerfile",
        image=settings.docker_base_image or imported or site.distribution.base_image,
        packages=settings.docker_image_packages,
        kernels=parts.kernels(site),
        base=base,
        codename=codename,
        uids=people.UIDS,
        gid=people.GID,
        home=people.HOME,
    )
    certificates = {
        f"certificates/{path.stem}.crt": files.File(path.read_bytes())
        for path in base.base_ca_certificates
    }
    return {
        "Dockerfile": files.File(dockerfile),
        "requirements.txt": files.File(releases.lock("singleuser")),
        "extra-requirements.txt": files.File(
            "".join(f"{line}\n" for line in settings.docker_image_requirements)
        ),
        "uv.txt": files.File(releases.lock("uv")),
        "jupyter_server_config.py": files.File(program("singleuser_config.py")),
        "certificates/README": files.File("Certificate authorities of the organisation.\n"),
        **certificates,
        **_kernels(site),
    }


def _kernels(site: Site) -> dict[str, files.File]:
    """What the build context has for each kernel."""
    found: dict[str, files.File] = {}
    for name, kernel in parts.kernels(site).items():
        directory = f"kernels/{name}"
        if kernel.lock:
            lock = releases.part_lock("singleuser", kernel.lock)
            found[f"{directory}/requirements.txt"] = files.File(lock)
        if kernel.program:
            start = [PYTHON, "{resource_dir}/kernel.py", "-f", "{connection_file}"]
            text = json.dumps({"argv": start, "display_name": kernel.title, "language": name})
            found[f"{directory}/kernel.json"] = files.File(f"{text}\n")
            found[f"{directory}/kernel.py"] = files.File(program(kernel.program))
    return found


def image(site: Site) -> str:
    """The users' image on the host at hand, as REPOSITORY:TAG."""
    return f"{IMAGE}:{docker.context_tag(context(site))}"


def _refuse_others_interfaces(site: Site) -> None:
    """Raises PyinfraError where the users' network would meet an interface of somebody else."""
    settings = site[DockerSettings]
    state = host.get_fact(docker.Network, NETWORK)

    def is_ours(interface: Interface) -> bool:
        if state:
            # perhaps by its former name, which another `docker_bridge` takes away in this run
            return interface.name == state.options.get(docker.BRIDGE_NAME)
        # while Docker is down, and its bridges stay
        at_home = interface.bridge and settings.gateway in interface.addresses
        return at_home and interface.name == settings.docker_bridge

    network.refuse_others_interfaces(_network(site), "docker", is_ours)


def _refuse_others_docker(site: Site) -> None:
    """Raises PyinfraError where the host's Docker is another than Debian's, or cannot be shared."""

    def refuse(reason: str) -> NoReturn:
        raise PyinfraError(f"{host.name}: {reason} No host was touched.")

    others = host.get_fact(packages.Packages, list(OTHERS)).installed & {*OTHERS}
    if others := others | host.get_fact(files.Paths, [SNAP]).keys():
        refuse(
            f"it has {', '.join(sorted(others))}, where Hubstead would install Debian's own "
            f"{site.distribution.docker.packages[0]}, which takes its place: what runs in it would "
            "be gone from view. Move that away first, or take another host."
        )
    settings = host.get_fact(docker_daemon.DaemonSettings)
    for reason in settings.reasons:
        refuse(
            f"{docker_daemon.PATH} of its owner stands in the way of people's servers: {reason}. "
            "See docs/beside.md, Docker."
        )
    for flag in settings.flags:
        refuse(f"its dockerd is started with {flag}: say that in {docker_daemon.PATH} instead.")
    engine = host.get_fact(docker_daemon.Engine)
    if engine and engine.swarm:
        refuse(
            "its Docker is part of a swarm, which excludes `live-restore`: each restart of Docker "
            "would end people's servers. Take another host, or leave the swarm."
        )


@deploy("docker")
def install(site: Site) -> None:
    settings = site[DockerSettings]
    _refuse_others_interfaces(site)
    _refuse_others_docker(site)
    docker_daemon.merged(name="Write the engine's settings")
    packages.installed(name="Install Docker", packages=site.distribution.docker.packages)
    units.running(name="Run Docker", unit=site.distribution.docker.unit, packaged=True)
    docker_daemon.settled(name="Let its settings count", unit=site.distribution.docker.unit)
    docker.network(
        name="Create the users' network",
        network=NETWORK,
        subnet=str(settings.docker_subnet),
        options=_options(settings),
    )


def _options(settings: DockerSettings) -> dict[str, str]:
    """Of the users' network."""
    return {
        docker.BRIDGE_NAME: settings.docker_bridge,
        # containers on one bridge see each other unless this is off
        "com.docker.network.bridge.enable_icc": "false",
    }


@deploy("singleuser")
def singleuser(site: Site) -> None:
    settings = site[DockerSettings]
    archive = settings.docker_base_archives.get(site.machine.codename)
    if archive and not settings.docker_base_image:
        docker.imported(name="Import the base image", repository=BASE, archive=archive)
    files.present(
        name="Write what builds the users' image",
        entries={
            "/usr/local/lib/hubstead": files.Directory(),
            docker.PROGRAM: files.File(program("users_image.py"), mode="755"),
        },
    )
    build = context(site)
    docker.built(
        name="Build the image of the users' servers",
        repository=IMAGE,
        tag=docker.context_tag(build),
        directory=CONTEXT,
        context=build,
        keep=settings.docker_image_keep,
    )
    allowed = site[GroupsSettings].hub_allowed_images
    if allowed:
        docker.pulled(name="Fetch the owner's images", images=allowed)
    _hold(site)
    if settings.docker_image_refresh:
        _refresh()
    else:
        units.stopped(name="Stop looking for updates of it", unit=f"{UNIT}.timer")
        files.present(name="Remove the timer", entries={_SERVICE: None, _TIMER: None})


def _hold(site: Site) -> None:
    """Docker's clean-ups take what no running container has: the Hub's address, and the image."""
    settings, unit = site[DockerSettings], site.distribution.docker.unit
    create = docker.creation(NETWORK, str(settings.docker_subnet), _options(settings))
    service = render(
        "docker",
        _HOLDER,
        docker=unit,
        network=NETWORK,
        create=create,
        program=docker.PROGRAM,
        directory=CONTEXT,
        strays=_STRAYS,
        slice=people.SLICE,
    )
    files.present(
        name="Write what holds the users' network and image",
        entries={
            _STRAYS: files.File(program("stray_servers.py"), mode="755"),
            _HOLDER: files.File(service),
        },
    )
    units.running(
        name="Hold them",
        unit=f"{docker.HOLDER}.service",
        inputs=[docker.PROGRAM, f"{CONTEXT}/image"],
    )


def _refresh() -> None:
    files.present(
        name="Write what looks for updates of it",
        entries={
            _SERVICE: files.File(
                render("docker", _SERVICE, program=docker.PROGRAM, directory=CONTEXT)
            ),
            _TIMER: files.File(render("docker", _TIMER)),
        },
    )
    units.running(name="Look for updates of it twice a day", unit=f"{UNIT}.timer")
    if host.get_fact(units.Unit, f"{UNIT}.service", [], []).failed:
        logger.warning(
            f"{host.name}: the users' image could not be brought up to date. Servers start from it "
            f"as it is, and the timer tries again; journalctl -u {UNIT} has the reason."
        )
    summarise(
        "Users' image: built anew when Debian has updates for it; a server gets it at its next "
        f"start. See systemctl list-timers {UNIT}.timer on {host.name}"
    )


def _policy(site: Site) -> str:
    """What a person's server may be: `Policy` of programs/docker_filter.py."""
    settings = site[HubSettings]
    policy = {
        "repository": IMAGE,
        "network": NETWORK,
        "files": settings.hub_files,
        "home": people.HOME,
        "shared": [f"{path}:{place}:ro" for path, place in settings.hub_shared_files.items()],
        "uids": people.UIDS,
        "gid": people.GID,
        "memory": in_bytes(settings.hub_memory_limit),
        "cpus": settings.hub_cpu_limit,
        "processes": settings.hub_process_limit,
        **groups.policy(site),
        # the slice is for all together; and where the host is full, a server goes before the Hub
        "host_config": {
            "CgroupParent": people.SLICE,
            "OomScoreAdj": 500,
            # whatever the host's Docker does with the logs of other containers
            "LogConfig": {
                "Type": "json-file",
                "Config": {"max-size": f"{site[DockerSettings].docker_log_size}m", "max-file": "3"},
            },
            # nothing is written but a person's files, and what counts as the server's memory
            "ReadonlyRootfs": True,
            "Tmpfs": {
                "/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={settings.tmp_limit}",
                "/run": "rw,noexec,nosuid,nodev,mode=1777,size=16m",
            },
        },
    }
    return json.dumps(policy, indent=2) + "\n"


@deploy("docker-filter")
def docker_filter(site: Site) -> None:
    """Who can ask Docker for anything is root: the Hub asks for people's servers alone."""
    accounts.system_user(
        name="Create the user jupyterhub", user=hub.USER, home="/var/lib/jupyterhub"
    )
    people.together(site)
    files.present(
        name="Write the filter before Docker",
        entries={
            _PROGRAM: files.File(program("docker_filter.py"), mode="755"),
            "/etc/hubstead": files.Directory(),
            POLICY: files.File(_policy(site)),
            _LISTENER: files.File(render("docker", _LISTENER, socket=SOCKET, user=hub.USER)),
            _FILTER: files.File(
                render(
                    "docker",
                    _FILTER,
                    docker=site.distribution.docker,
                    program=_PROGRAM,
                    policy=POLICY,
                )
            ),
        },
    )
    units.running(name="Listen for the Hub", unit=f"{FILTER}.socket")
    units.running(
        name="Run the filter", unit=f"{FILTER}.service", inputs=[_PROGRAM, POLICY, _LISTENER]
    )


def _deploy(site: Site) -> None:
    people.refuse_what_is_elsewhere(site)
    install(site=site)
    singleuser(site=site)
    docker_filter(site=site)
    people.ready(site=site)


@deploy("docker")
def absent(site: Site) -> None:
    """Remove people's servers and what runs them; Docker itself and people's files stay."""
    for unit in (f"{FILTER}.socket", f"{FILTER}.service", f"{UNIT}.timer", f"{UNIT}.service"):
        units.stopped(name=f"Stop {unit}", unit=unit)
    units.stopped(name="Let go of the users' network", unit=f"{docker.HOLDER}.service")
    people.absent()
    docker.absent(
        name="Remove people's servers, their network and image",
        network=NETWORK,
        repositories=[IMAGE, BASE],
    )
    people.apart()
    files.present(
        name="Remove what ran them",
        entries={
            **{path: None for path in (_LISTENER, _FILTER, _SERVICE, _TIMER, _HOLDER)},
            **{path: None for path in (_PROGRAM, _STRAYS, docker.PROGRAM, POLICY)},
            # of a build that failed
            f"{CONTEXT}.new": None,
            # last: it says that they were in Docker
            CONTEXT: None,
        },
    )


def _configuration(site: Site) -> hub.Configuration:
    """Servers: a container and a volume a user."""
    settings, allowed = site[HubSettings], site[GroupsSettings].hub_allowed_images
    return hub.Configuration(
        traits={
            "JupyterHub": {"spawner_class": "dockerspawner.DockerSpawner"},
            "DockerSpawner": {
                "client_kwargs": {"base_url": f"unix://{SOCKET}"},
                "image": image(site),
                "allowed_images": {"standard": image(site), **{each: each for each in allowed}}
                if allowed
                else {},
                "pull_policy": "never",
                "cmd": [PYTHON, "-s", "-m", "jupyterhub.singleuser"],
                "name_template": server_prefix("{username}") + "{servername}",
                "network_name": NETWORK,
                "use_internal_ip": True,
                "remove": True,
                "notebook_dir": people.HOME,
                "volumes": {f"{settings.hub_files}/{{username}}": people.HOME},
                "read_only_volumes": settings.hub_shared_files,
                "mem_limit": settings.hub_memory_limit,
                "cpu_limit": settings.hub_cpu_limit,
                "extra_host_config": {
                    # else a restart of the engine would end every server; one that ends by itself
                    # is removed by the Hub at its next start
                    "auto_remove": site.distribution.docker.spares_removable,
                    "cap_drop": ["ALL"],
                    "init": True,
                    "pids_limit": settings.hub_process_limit,
                    "security_opt": ["no-new-privileges"],
                },
            },
            "Spawner": {
                "default_url": "/lab",
                # a minute was too little on a busy host, where nobody would try again by themselves
                "http_timeout": 120,
                "start_timeout": 120,
                # who removes a container does not tell: people are offered a start soon after
                "poll_interval": 10,
            },
        },
        code=(
            "forget_images_that_are_refused",
            "give_people_files",
            "share_folders_of_groups",
            *(["start_allowed_images"] if allowed else []),
            "say_so_while_docker_is_away",
        ),
    )


def _checks(site: Site) -> tuple[checks.Check, ...]:
    too = ", and try sshd" if network.keeps_sshd_away(site) else ""
    engine = site.distribution.docker.unit
    return (
        checks.Check(
            name=f"Ask the Hub from a container of the users' network{too}",
            part="The users' network",
            script=network.ask_from(
                site, f"docker run --rm --network {NETWORK} {image(site)} python"
            ),
            mend=f"docker network inspect {NETWORK}; iptables -S HUBSTEAD-INPUT;"
            " journalctl -u docker",
            of="network",
            units=(engine,),
            leaves_no_trace=False,
        ),
        checks.Check(
            name="Ask the filter before Docker, as the Hub does",
            part="The filter before Docker",
            script=f"{hub.AS_ITSELF} {checks.CURL} --fail --output /dev/null"
            f" --unix-socket {SOCKET} http://localhost/version",
            mend=f"journalctl -u {FILTER}",
            of="filter",
            # what asks a stopped Docker would start it
            units=(f"{FILTER}.socket", engine),
        ),
        people.check(site),
    )


def _grounds(site: Site) -> tuple[checks.Check, ...]:
    engine, holder = site.distribution.docker.unit, f"{docker.HOLDER}.service"
    return (
        checks.Check(
            name="Ask Docker",
            part="Docker",
            script="docker version --format '{{.Server.Version}}'",
            mend=f"journalctl -u {engine} -n 50; systemctl restart {engine}",
            of="docker",
            units=(engine,),
        ),
        checks.Check(
            name="Look for the users' network",
            part="The users' network",
            script=f"docker network inspect --format ok {NETWORK}",
            mend=f"systemctl restart {holder}",
            of="network",
            units=(engine, holder),
        ),
        checks.Check(
            name="Look for the users' image",
            part="The users' image",
            script=f"docker image inspect --format ok $(cat {CONTEXT}/image)",
            mend=f"systemctl restart {holder}, which builds it anew; journalctl -u {holder} -f",
            of="image",
            units=(engine,),
        ),
    )


def _tell(site: Site) -> None:
    people.say_what_is_in_volumes(site)


def _network(site: Site) -> parts.Network:
    settings = site[DockerSettings]
    return parts.Network(
        settings.docker_bridge, settings.docker_subnet, settings.gateway, chain="DOCKER-USER"
    )


PART = Spawner(
    configuration=_configuration,
    lock="docker",
    deploy=_deploy,
    units=lambda site: (
        site.distribution.docker.unit,
        f"{docker.HOLDER}.service",
        f"{FILTER}.socket",
        people.SOCKET_UNIT,
    ),
    left=lambda site: (site.distribution.docker.group,),
    network=_network,
    absent=absent,
    checks=_checks,
    grounds=_grounds,
    tell=_tell,
)
