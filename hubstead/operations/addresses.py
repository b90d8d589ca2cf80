"""Addresses: where the run comes from, and which hosts and DNS servers have which."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from pyinfra.api import FactBase, FactProcessError

Address = IPv4Address | IPv6Address
#: Interfaces that container engines and hypervisors make: their addresses are not the host's name
_VIRTUAL = ("lo", "docker", "br-", "veth", "virbr", "cni", "hubstead")


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


class SshConnection(FactBase[Connection | None]):
    """The connection that the run uses, None where it is no SSH; read it with `_sudo=False`."""

    def command(self) -> str:
        return 'echo "${SSH_CONNECTION-}"'

    def process(self, output: list[str]) -> Connection | None:
        try:
            return parse_connection("".join(output))
        except ValueError as error:
            raise FactProcessError(f"unreadable SSH_CONNECTION: {error}") from error


def parse_addresses(text: str) -> list[Address]:
    """The host's own addresses, sorted, from what `ip -json address` prints."""
    links: list[dict[str, Any]] = json.loads(text)
    found = {
        ip_address(item["local"])
        for link in links
        if not link["ifname"].startswith(_VIRTUAL)
        for item in link["addr_info"]
        # temporary ones (RFC 8981) are others tomorrow
        if item.get("scope") == "global" and not item.get("temporary")
    }
    return sorted(found, key=lambda address: (address.version, address))


class Addresses(FactBase[list[Address]]):
    """The host's global addresses, without those of bridges for containers."""

    @staticmethod
    def default() -> list[Address]:
        return []

    def requires_command(self) -> str:
        return "ip"

    def command(self) -> str:
        return "ip -json address"

    def process(self, output: list[str]) -> list[Address]:
        try:
            return parse_addresses("".join(output))
        except (ValueError, KeyError) as error:
            raise FactProcessError(f"unreadable list of addresses: {error}") from error


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
