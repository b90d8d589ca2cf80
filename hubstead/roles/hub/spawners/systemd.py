"""Servers as units of the hub host's systemd: their network, their environment, who starts them."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from hubstead import groups, hub, network, parts, people
from hubstead.notes import ROLES, claim
from hubstead.operations import (
    accounts,
    certificates,
    checks,
    files,
    packages,
    people_servers,
    units,
)
from hubstead.operations.addresses import Interface
from hubstead.parts import Spawner
from hubstead.programs import program
from hubstead.releases import build_env, release
from hubstead.render import render
from hubstead.settings.groups import PLACE, GroupsSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.python import PythonSettings
from hubstead.settings.systemd import SystemdSettings
from hubstead.site import Site

#: What the Hub asks in the place of systemd
HELPER = "hubstead-people-servers"
SOCKET = f"/run/{HELPER}.sock"
NETWORK_UNIT = "hubstead-people-network.service"
COMPONENT = "environment"
_CURRENT = f"/opt/hubstead/{COMPONENT}/current"
#: What is each server's root, with what is mounted there
ROOT = "/var/lib/hubstead/server"
_RUN = "/run/hubstead-servers"
_SYSTEM = "/etc/systemd/system"
_UNITS = (
    f"{HELPER}.socket",
    f"{HELPER}@.service",
    NETWORK_UNIT,
    "hubstead-server@.service",
    "hubstead-server-network@.service",
)
_PROGRAM, _NETWORK = (f"/usr/local/lib/hubstead/people-{each}" for each in ("servers", "network"))
_POLICY, _NETWORK_POLICY = (f"/etc/hubstead/people-{each}.json" for each in ("servers", "network"))
_JOURNAL = f"/etc/systemd/journald@{people_servers.LOGS}.conf"
_OVERRIDES = "etc/jupyter/labconfig/default_setting_overrides.json"
#: Of the host, to be read in servers: programs, what these are told in /etc, and nobody's secrets
READABLE = (
    "/usr",
    *("-/etc/alternatives", "-/etc/ca-certificates", "-/etc/fonts", "-/etc/gitconfig"),
    *("/etc/ld.so.cache", "-/etc/localtime", "-/etc/magic", "-/etc/mime.types"),
    *("-/etc/bash.bashrc", "-/etc/inputrc", "-/etc/profile", "-/etc/profile.d", "-/etc/terminfo"),
    *("-/etc/R", "-/etc/texmf", "-/etc/octave.conf", "/etc/ssl", "-/etc/timezone"),
    *("-/var/cache/fontconfig", "-/var/lib/texmf"),
)
#: The one after those of people, for verify
_NOBODYS_UID = people.UIDS[1] + 1


def _network(site: Site) -> parts.Network:
    settings = site[SystemdSettings]
    return parts.Network(
        settings.systemd_bridge, settings.systemd_subnet, settings.gateway, chain="FORWARD"
    )


def _refuse_others_interfaces(site: Site) -> None:
    """Raises PyinfraError where the users' network would meet an interface of somebody else."""
    known = host.get_fact(people_servers.Network, _NETWORK_POLICY)

    def is_ours(interface: Interface) -> bool:
        # perhaps by its former name, which another `systemd_bridge` takes away in this run
        return bool(known and interface.bridge and interface.name == known["bridge"])

    network.refuse_others_interfaces(_network(site), "systemd", is_ours)


def _network_policy(site: Site) -> str:
    """`Policy` of programs/people_network.py."""
    settings = site[SystemdSettings]
    policy = {
        "bridge": settings.systemd_bridge,
        "subnet": str(settings.systemd_subnet),
        "gateway": str(settings.gateway),
        "first": str(settings.first),
        "uid": people.UIDS[0],
    }
    return json.dumps(policy, indent=2) + "\n"


def _policy(site: Site) -> str:
    """`Policy` of programs/people_servers.py."""
    known = groups.policy(site)
    profiles = (profile.name for profile in site[GroupsSettings].hub_profiles)
    policy = {
        "files": site[HubSettings].hub_files,
        "uids": people.UIDS,
        "gid": people.GID,
        "home": people.HOME,
        "first": str(site[SystemdSettings].first),
        "groups": known["groups"],
        "profiles": dict(zip(profiles, known["profiles"], strict=True)),
    }
    return json.dumps(policy, indent=2) + "\n"


def _environment(site: Site) -> dict[str, str]:
    """Variables of servers, for pip and npm there: the host's certificates, and the mirrors."""
    bundle = certificates.BUNDLE
    return {
        **build_env(site),
        "REQUESTS_CA_BUNDLE": bundle,
        "SSL_CERT_FILE": bundle,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def _root() -> dict[str, files.Entry]:
    """What each server's file system begins with, before anything is mounted there."""
    directories = (
        *("", "dev", "etc", "etc/jupyter", "etc/jupyter/labconfig", "home", "opt", "opt/jupyter"),
        *("opt/hubstead", "opt/hubstead/environment", "opt/hubstead/environment/releases"),
        *("proc", "root", "run", "sys", "tmp", "usr", "var", "var/tmp", PLACE.strip("/")),
    )
    group = f"root:x:0:\njovyan:x:{people.GID}:\n"
    return {
        **{f"{ROOT}/{each}".rstrip("/"): files.Directory() for each in directories},
        # as on the host (hier(7), file-hierarchy(7))
        **{f"{ROOT}/{each}": files.Link(f"usr/{each}") for each in ("bin", "lib", "lib64", "sbin")},
        f"{ROOT}/etc/group": files.File(group),
        f"{ROOT}/etc/hosts": files.File("127.0.0.1 localhost\n"),
        f"{ROOT}/etc/nsswitch.conf": files.File("passwd: files\ngroup: files\nhosts: files dns\n"),
        f"{ROOT}/etc/jupyter/jupyter_server_config.py": files.File(program("singleuser_config.py")),
        # the page asks nobody outside for news or updates
        f"{ROOT}/{_OVERRIDES}": files.File(
            render("jupyterlab", "/etc/jupyterlab/labconfig/default_setting_overrides.json")
        ),
    }


def _written(site: Site, unit: str) -> files.File:
    settings, path = site[HubSettings], f"{_SYSTEM}/{unit}"
    interpreter = PurePosixPath(site[PythonSettings].python_interpreter)
    elsewhere = [] if interpreter.is_relative_to("/usr") else [str(interpreter.parents[1])]
    text = render(
        "systemd",
        path,
        socket=SOCKET,
        user=hub.USER,
        program=_NETWORK if "network" in unit else _PROGRAM,
        policy=_NETWORK_POLICY if "network" in unit else _POLICY,
        run=_RUN,
        files=settings.hub_files,
        gid=people.GID,
        home=people.HOME,
        slice=people.SLICE,
        logs=people_servers.LOGS,
        root=ROOT,
        environment=_environment(site),
        memory=settings.hub_memory_limit,
        cpus=f"{settings.hub_cpu_limit * 100:g}",
        processes=settings.hub_process_limit,
        tmp=settings.tmp_limit,
        readable=[
            *READABLE,
            *elsewhere,
            f"/opt/hubstead/{COMPONENT}/releases",
            # the one of that moment, whatever is current later
            f"{_CURRENT}:/opt/jupyter",
            f"{_RUN}/%i/passwd:/etc/passwd",
            f"{_RUN}/%i/resolv.conf:/etc/resolv.conf",
        ],
        shared=settings.hub_shared_files,
    )
    return files.File(text)


@deploy("systemd")
def systemd(site: Site) -> None:
    settings = site[SystemdSettings]
    people.refuse_what_is_elsewhere(site)
    _refuse_others_interfaces(site)
    claim(site, "systemd")
    packages.installed(
        name="Install what servers need",
        packages=[
            *site.distribution.iptables_packages,
            *site.distribution.server_packages,
            *settings.systemd_packages,
        ],
    )
    release(
        site,
        name="Build people's environment",
        component=COMPONENT,
        lock="singleuser",
        further=settings.systemd_requirements,
    )
    accounts.system_user(
        name="Create the user jupyterhub", user=hub.USER, home="/var/lib/jupyterhub"
    )
    people.together(site)
    people_servers.moved(
        name="Remove the users' network of earlier settings",
        policy=_NETWORK_POLICY,
        wanted=_network_policy(site),
        program=program("people_network.py"),
    )
    files.present(
        name="Write what runs people's servers",
        entries={
            "/usr/local/lib/hubstead": files.Directory(),
            "/etc/hubstead": files.Directory(),
            _PROGRAM: files.File(program("people_servers.py"), mode="755"),
            _NETWORK: files.File(program("people_network.py"), mode="755"),
            _POLICY: files.File(_policy(site)),
            _NETWORK_POLICY: files.File(_network_policy(site)),
            _JOURNAL: files.File(render("systemd", _JOURNAL)),
            **_root(),
            **{f"{_SYSTEM}/{unit}": _written(site, unit) for unit in _UNITS},
        },
    )
    units.running(
        name="Make the users' network", unit=NETWORK_UNIT, inputs=[_NETWORK, _NETWORK_POLICY]
    )
    units.running(name="Listen for the Hub", unit=f"{HELPER}.socket")
    people.ready(site=site)


@deploy("systemd")
def absent(site: Site) -> None:
    """Remove people's servers and what runs them; their files stay."""
    units.stopped(name="Stop what starts people's servers", unit=f"{HELPER}.socket")
    people_servers.absent(
        name="Remove people's servers and their network",
        policy=_NETWORK_POLICY,
        program=program("people_network.py"),
    )
    units.stopped(name="Forget the users' network", unit=NETWORK_UNIT)
    people.absent()
    people.apart()
    files.present(
        name="Remove what ran them",
        entries={
            **{f"{_SYSTEM}/{unit}": None for unit in _UNITS},
            **{path: None for path in (_PROGRAM, _NETWORK, _POLICY, _NETWORK_POLICY, _JOURNAL)},
            ROOT: None,
            f"/opt/hubstead/{COMPONENT}": None,
            _RUN: None,
            f"{ROLES}/systemd": None,
        },
    )


def _configuration(site: Site) -> hub.Configuration:
    settings = site[HubSettings]
    return hub.Configuration(
        traits={
            "JupyterHub": {"spawner_class": "hubstead_hub.servers.SystemdSpawner"},
            "Spawner": {
                "default_url": "/lab",
                "notebook_dir": people.HOME,
                # what servers are told of their limits, which systemd keeps
                "mem_limit": settings.hub_memory_limit,
                "cpu_limit": settings.hub_cpu_limit,
                # in a network of its own
                "ip": "0.0.0.0",
                "http_timeout": 120,
                "start_timeout": 120,
                "poll_interval": 10,
            },
        },
        code=("put_files_aside",),
    )


def _checks(site: Site) -> tuple[checks.Check, ...]:
    too = ", and try sshd" if network.keeps_sshd_away(site) else ""
    join, leave = (
        f"{_NETWORK} {_NETWORK_POLICY} {each} {_NOBODYS_UID}" for each in ("join", "leave")
    )
    within = f"ip netns exec hubstead-{_NOBODYS_UID} setpriv --reuid=nobody --clear-groups python3"
    return (
        checks.Check(
            name=f"Ask the Hub from the users' network{too}",
            part="The users' network",
            script=f"trap '{leave}' EXIT; {join} && {network.ask_from(site, within)}",
            mend=f"systemctl restart {NETWORK_UNIT}; iptables -S HUBSTEAD-INPUT",
            of="network",
            units=(NETWORK_UNIT,),
            leaves_no_trace=False,
        ),
        checks.Check(
            name="Ask what starts people's servers, as the Hub does",
            part="What starts people's servers",
            script=f"{hub.AS_ITSELF} {checks.says(SOCKET, '{}', checks.REFUSED)}",
            mend=f"systemctl status {HELPER}.socket; journalctl -u '{HELPER}@*'",
            of="servers",
            units=(f"{HELPER}.socket",),
        ),
        people.check(site),
    )


def _grounds(site: Site) -> tuple[checks.Check, ...]:
    settings = site[SystemdSettings]
    look = f"ip -brief address show dev {settings.systemd_bridge}"
    return (
        checks.Check(
            name="Look for the users' network",
            part="The users' network",
            script=f"{look} | grep -F {settings.gateway}/",
            mend=f"systemctl restart {NETWORK_UNIT}",
            of="network",
            units=(NETWORK_UNIT,),
        ),
        checks.Check(
            name="Look for people's environment",
            part="People's environment",
            script=f"{_CURRENT}/bin/python -c 'import jupyterhub.singleuser, jupyterlab'",
            mend=f"ls -l /opt/hubstead/{COMPONENT}, and run a deploy",
            of="environment",
        ),
    )


PART = Spawner(
    configuration=_configuration,
    deploy=systemd,
    units=lambda site: (NETWORK_UNIT, f"{HELPER}.socket", people.SOCKET_UNIT),
    network=_network,
    absent=absent,
    checks=_checks,
    grounds=_grounds,
)
