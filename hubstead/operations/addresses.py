"""Addresses: where the run comes from, and which hosts and DNS servers have which."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from pyinfra.api import FactBase, FactProcessError

Address = IPv4Address | IPv6Address
#: What hangs on a bridge and leads nowhere else, by kind of link (ip-link(8)): containers (veth),
#: virtual machines (tun, for a tap), and what gives a bridge its MTU (dummy). A card has no kind.
_INNER = {"veth", "tun", "dummy"}


@dataclass(frozen=True)
class Connection:
    """An SSH connection as the host's end sees it."""

    client: Address
    server: Address
    port: int


def parse_connection(text: str) -> Connection | None:
    """The connection in a value of SSH_CONNECTION (ssh(1)); None where it is empty."""
    if not text.strip():
        return None
    client, _, server, port = text.split()
    return Connection(_address(client), _address(server), int(port))


def _address(text: str) -> Address:
    """An address without its zone, and as IPv4 where it is mapped into IPv6 (RFC 4291, 2.5.5.2)."""
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


class AnswerForNobody(FactBase[str | None]):
    """The address that DNS has for a name that does not exist (RFC 6761, 6.4); None for none."""

    def command(self) -> str:
        return "timeout 5 getent ahosts nobody.invalid | head -n 1 | cut -d' ' -f1; true"

    def process(self, output: list[str]) -> str | None:
        return output[0] if output else None


class SshConnection(FactBase[Connection | None]):
    """The connection that the run uses, None where it is no SSH; read it with `_sudo=False`."""

    def command(self) -> str:
        return 'echo "${SSH_CONNECTION-}"'

    def process(self, output: list[str]) -> Connection | None:
        try:
            return parse_connection("".join(output))
        except ValueError as error:
            raise FactProcessError(f"unreadable SSH_CONNECTION: {error}") from error


@dataclass(frozen=True)
class Interface:
    """A network interface of the host, with its global addresses, sorted.

    `outward`: whether it leads to other hosts. A bridge does so where a default route uses it, or
    where something hangs on it that is no container and no virtual machine: a card, a VLAN, a
    bond … Its name says nothing.
    """

    name: str
    addresses: tuple[Address, ...]
    bridge: bool = False
    outward: bool = True


def parse_interfaces(lines: Iterable[str]) -> list[Interface]:
    """The interfaces from what `ip -json` prints of links with details, and of default routes."""
    items: list[dict[str, Any]] = [item for line in lines if line for item in json.loads(line)]
    links = [item for item in items if "ifname" in item]
    hops = [hop for item in items if "dst" in item for hop in item.get("nexthops", [item])]
    ways_out = {hop.get("dev") for hop in hops}
    ways_out |= {link.get("master") for link in links if _kind(link) not in _INNER}
    return [
        Interface(
            link["ifname"],
            tuple(sorted(_global_addresses(link), key=lambda address: (address.version, address))),
            bridge=_kind(link) == "bridge",
            outward=_kind(link) != "bridge" or link["ifname"] in ways_out,
        )
        for link in links
    ]


def _kind(link: dict[str, Any]) -> str | None:
    kind: str | None = link.get("linkinfo", {}).get("info_kind")
    return kind


def _global_addresses(link: dict[str, Any]) -> Iterator[Address]:
    for item in link["addr_info"]:
        # temporary ones (RFC 8981) are others tomorrow
        if item.get("scope") == "global" and not item.get("temporary"):
            yield ip_address(item["local"])


class Interfaces(FactBase[list[Interface]]):
    """The host's network interfaces."""

    @staticmethod
    def default() -> list[Interface]:
        return []

    def requires_command(self) -> str:
        return "ip"

    def command(self) -> str:
        # of all tables: VRFs and policies (ip-rule(8)) have default routes of their own
        routes = "route show table all default 2>/dev/null"
        return f"ip -json -details address && {{ ip -json {routes}; ip -json -6 {routes}; true; }}"

    def process(self, output: list[str]) -> list[Interface]:
        try:
            return parse_interfaces(output)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FactProcessError(f"unreadable list of interfaces: {error}") from error


def parse_resolvers(lines: Iterable[str]) -> list[IPv4Address]:
    """The IPv4 DNS servers of a resolv.conf(5) that a container can reach: none on loopback."""
    words = [line.split() for line in lines]
    found = [ip_address(line[1].partition("%")[0]) for line in words if line[:1] == ["nameserver"]]
    return [a for a in found if isinstance(a, IPv4Address) and not a.is_loopback]


class Resolvers(FactBase[list[IPv4Address]]):
    """The DNS servers that Docker gives to containers.

    Where systemd-resolved listens on loopback, Docker takes the servers behind it.
    """

    @staticmethod
    def default() -> list[IPv4Address]:
        return []

    def command(self) -> str:
        return (
            "if grep -q '^nameserver 127\\.0\\.0\\.53' /etc/resolv.conf; then"
            " cat /run/systemd/resolve/resolv.conf; else cat /etc/resolv.conf; fi"
        )

    def process(self, output: list[str]) -> list[IPv4Address]:
        try:
            return parse_resolvers(output)
        except (ValueError, IndexError) as error:
            raise FactProcessError(f"unreadable resolv.conf: {error}") from error
