"""The network of people's servers on their host, whatever these run in."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from ipaddress import IPv4Address

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead import parts
from hubstead.operations.addresses import Interface, Interfaces, SshConnection
from hubstead.settings.firewall import FirewallSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.site import Site

#: Run on the host: which of the arguments, each ADDRESS:PORT, answer there
_ANSWERING = """
import socket, sys
for target in sys.argv[1:]:
    address, _, port = target.rpartition(":")
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        continue
    print(target)
"""
#: Run where a server would be: arguments are the Hub's health URL, and what must not answer
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
    sys.exit(f"a server reaches the sshd of its host at {target}: the firewall is not in place")
"""


def refuse_others_interfaces(
    network: parts.Network, setting: str, is_ours: Callable[[Interface], bool]
) -> None:
    """Raises PyinfraError where the users' network would meet an interface of somebody else.

    + setting: what the names of the network's settings begin with, such as "docker".
    + is_ours: whether an interface is that of the users' network.
    """
    interfaces: list[Interface] = host.get_fact(Interfaces)
    for interface in interfaces:
        if is_ours(interface):
            continue
        if interface.name == network.bridge:
            raise PyinfraError(
                f"{host.name} has an interface {interface.name} that is not the users' network's: "
                f"set `{setting}_bridge` to a name that no interface has."
            )
        for address in interface.addresses:
            if address in network.subnet:
                raise PyinfraError(
                    f"{host.name} has the address {address} ({interface.name}), which lies in "
                    f"`{setting}_subnet` = {network.subnet}: set `{setting}_subnet` to a network "
                    "that you do not use."
                )


def keeps_sshd_away(site: Site) -> bool:
    """Whether somebody promised that servers do not reach the host's sshd."""
    return site[FirewallSettings].firewall


def _sshd(site: Site, gateway: IPv4Address) -> list[str]:
    """Where sshd may listen, each as ADDRESS:PORT."""
    ports = {
        port
        for port, listeners in site.machine.listeners.items()
        if any(each.process == "sshd" for each in listeners)
    }
    connection = host.get_fact(SshConnection, _sudo=False)
    if connection is not None:
        # where systemd listens on its behalf
        ports.add(connection.port)
    interfaces: list[Interface] = host.get_fact(Interfaces)
    own = [a for each in interfaces if each.outward for a in each.addresses if a.version == 4]
    return [f"{address}:{port}" for port in sorted(ports) for address in (gateway, *own)]


def ask_from(site: Site, within: str) -> str:
    """A script for a check: a server there would reach the Hub, and not the host's sshd.

    + within: a command that runs the arguments after it where a server would be.
    """
    health = f"{parts.hub_url(site)}{site[HubSettings].hub_base_url}hub/health"
    ask = f"{within} -c {shlex.quote(_FROM_INSIDE)} {health}"
    if not keeps_sshd_away(site):
        return ask
    # only what answers on the host proves something by its silence in a server
    sshd = _sshd(site, parts.spawner(site).network(site).gateway)
    return f"{ask} $(python3 -c {shlex.quote(_ANSWERING)} {' '.join(sshd)})"
