"""Servers as units of the hub host's systemd: their network, their environment, who starts them."""

from __future__ import annotations

import json
import shlex
from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead import hub, parts, people
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
from hubstead.operations.addresses import Interface, Interfaces
from hubstead.parts import Spawner
from hubstead.programs import program
from hubstead.releases import build_env, release
from hubstead.render import render
from hubstead.settings.firewall import FirewallSettings
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

#: Run on the host: the argument is the socket; a request about nobody
_NOBODYS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.settimeout(10)
    asked.connect(sys.argv[1])
    asked.sendall(b"{}\\n")
    print(answer := asked.recv(1000).decode())
sys.exit(answer != '{"error": "the request is none"}\\n')
"""
#: Run as a server would be: arguments are the Hub's health URL, and what must not answer
_FROM_INSIDE = """
import socket, sys, urllib.request
health, *targets = sys.argv[1:]
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(health, timeout=5)
except OSError as error:
    sys.exit(f"a server cannot reach the Hub: {error}")
for target in targets:
    address, _, port = target.rpartition(":")
    try:
        socket.create_connection((address, port), timeout=1)
    except OSError:
        continue
    sys.exit(f"a server reaches {target} of its host: the firewall is not in place")
"""


def _refuse_others_interfaces(site: Site) -> None:
    """Raises PyinfraError where the users' network would meet an interface of somebody else."""
    settings = site[SystemdSettings]
    interfaces: list[Interface] = host.get_fact(Interfaces)
    known = host.get_fact(people_servers.Network, _NETWORK_POLICY)
    for interface in interfaces:
        if known and interface.bridge and interface.name == known["bridge"]:
            continue
        if interface.name == settings.systemd_bridge:
            raise PyinfraError(
                f"{host.name} has an interface {interface.name} that is not the users' network's: "
                "set `systemd_bridge` to a name that no interface has."
            )
        for address in interface.addresses:
            if address in settings.systemd_subnet:
                raise PyinfraError(
                    f"{host.name} has the address {address} ({interface.name}), which lies in "
                    f"`systemd_subnet` = {settings.systemd_subnet}: set `systemd_subnet` to a "
                    "network that you do not use."
                )


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
    policy = {
        "files": site[HubSettings].hub_files,
        "uids": people.UIDS,
        "gid": people.GID,
        "home": people.HOME,
        "first": str(site[SystemdSettings].first),
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
        *("proc", "root", "run", "sys", "tmp", "usr", "var", "var/tmp"),
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


def _sshd(site: Site) -> list[str]:
    """Where sshd may listen, each as ADDRESS:PORT; none where no firewall keeps servers away."""
    if not site[FirewallSettings].firewall:
        return []
    ports = sorted(
        port
        for port, listeners in site.machine.listeners.items()
        if any(each.process == "sshd" for each in listeners)
    )
    return [f"{site[SystemdSettings].gateway}:{port}" for port in ports]


def _checks(site: Site) -> tuple[checks.Check, ...]:
    sshd, health = _sshd(site), f"{parts.hub_url(site)}{site[HubSettings].hub_base_url}hub/health"
    too = ", and try sshd" if sshd else ""
    network = f"{_NETWORK} {_NETWORK_POLICY}"
    leave = f"{network} leave {_NOBODYS_UID}"
    within = f"ip netns exec hubstead-{_NOBODYS_UID} setpriv --reuid=nobody --clear-groups"
    ask = f"python3 -c {shlex.quote(_FROM_INSIDE)} {health} {' '.join(sshd)}"
    return (
        checks.Check(
            name=f"Ask the Hub from the users' network{too}",
            part="The users' network",
            script=f"trap '{leave}' EXIT; {network} join {_NOBODYS_UID} && {within} {ask}",
            mend=f"systemctl restart {NETWORK_UNIT}; iptables -S HUBSTEAD-INPUT",
            of="network",
            units=(NETWORK_UNIT,),
            leaves_no_trace=False,
        ),
        checks.Check(
            name="Ask what starts people's servers, as the Hub does",
            part="What starts people's servers",
            script=f"{hub.AS_ITSELF} python3 -c {shlex.quote(_NOBODYS)} {SOCKET}",
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
    network=lambda site: parts.Network(
        site[SystemdSettings].systemd_bridge,
        site[SystemdSettings].systemd_subnet,
        site[SystemdSettings].gateway,
        chain="FORWARD",
    ),
    absent=absent,
    checks=_checks,
    grounds=_grounds,
)
