"""Firewall: what the host lets in, and what the users' servers reach."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, ctx_inventory, host

from hubstead.operations import files, packages, units
from hubstead.operations import firewall as chains
from hubstead.operations.addresses import Connection, Resolvers, SshConnection
from hubstead.operations.firewall import LINK_LOCAL, Network, Opening, Policy, Users
from hubstead.programs import program
from hubstead.render import render
from hubstead.roles.application import serves
from hubstead.roles.base import distribution, networks
from hubstead.roles.docker import DockerSettings
from hubstead.roles.edge import EdgeSettings, is_front
from hubstead.roles.jupyterhub import HubSettings
from hubstead.settings import Settings, load
from hubstead.topology import plays, tier_host

UNIT, DOCKER_UNIT = "hubstead-firewall.service", "hubstead-firewall-docker.service"
SYSTEM = "/etc/systemd/system"
DIRECTORY = "/etc/hubstead/firewall"
EVERYONE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
DATABASE_PORT = 5432

#: Not the internet: this network (RFC 1122), private (RFC 1918) and shared addresses (RFC 6598),
#: loopback, multicast (RFC 5771) and reserved addresses (RFC 1112). Link-local ones are never
#: reached, whatever this list has.
PRIVATE = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]


class Port(BaseModel):
    """A port to open: {"port": 8443, "protocol": "tcp", "from": ["10.0.0.0/8"]}."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int = Field(ge=1, le=65535)
    protocol: Literal["tcp", "udp"] = "tcp"
    sources: list[Network] = Field(list(EVERYONE), alias="from")


class FirewallSettings(Settings):
    """What the host lets in, and what the users' servers reach."""

    prefixes = ("firewall_",)

    firewall: bool = Field(
        True, description="Whether Hubstead keeps a firewall; False removes the one it made."
    )
    firewall_ssh_from: list[Network] = Field(
        list(EVERYONE), description="Networks that may connect to SSH."
    )
    firewall_ssh_port: int | None = Field(
        None, ge=1, le=65535, description="Port of sshd; by default the one that the run uses."
    )
    firewall_open: list[Port] = Field(
        [],
        description="Further ports that the host lets in: a list of dictionaries with `port`, "
        '`protocol` ("tcp" by default, or "udp") and `from`, a list of networks (by default all).',
    )
    firewall_user_internet: bool = Field(
        False, description="Whether the users' servers reach the internet."
    )
    firewall_user_allow: list[IPv4Network] = Field(
        [],
        description="Networks that the users' servers reach besides: a licence server, a data "
        "store. Beats `firewall_user_deny`; other hosts of the inventory stay out of reach.",
    )
    firewall_user_deny: list[IPv4Network] = Field(
        PRIVATE,
        description="Networks that the users' servers do not reach, with or without the internet: "
        "by default every private one.",
    )

    @field_validator("firewall_user_allow")
    @classmethod
    def _allowable(cls, value: list[IPv4Network]) -> list[IPv4Network]:
        for network in value:
            if network.subnet_of(LINK_LOCAL):
                raise ValueError(
                    f"{network} is link-local, where clouds keep their hosts' credentials "
                    "(169.254.169.254): users' servers never reach it"
                )
        return value


class LockOutError(PyinfraError):
    """Rules that would end the connection which brings them."""


def refuse_lock_out(settings: FirewallSettings, connection: Connection | None, name: str) -> int:
    """The port of SSH on the host `name`.

    Raises LockOutError when the settings would shut the run's own connection out.
    """
    if connection is None:
        return settings.firewall_ssh_port or 22
    port = settings.firewall_ssh_port or connection.port
    if port != connection.port:
        raise LockOutError(
            f"`firewall_ssh_port` = {port} would lock this run out of {name}, which it reached on "
            f"port {connection.port}; no host was touched. Set `firewall_ssh_port` to "
            f"{connection.port}, or remove it and let sshd move first."
        )
    if not any(connection.client in network for network in settings.firewall_ssh_from):
        networks = ", ".join(map(str, settings.firewall_ssh_from)) or "no network"
        raise LockOutError(
            f"`firewall_ssh_from` = {networks} would lock this run out of {name}, which sees it "
            f"come from {connection.client}; no host was touched. Add "
            f'"{connection.client}/{connection.client.max_prefixlen}" or its network to '
            "`firewall_ssh_from`, or run from an address that it has."
        )
    return port


def _public_ports() -> tuple[int, ...]:
    """The ports of the service on the host at hand, where that faces the internet."""
    settings = load(EdgeSettings)
    return (settings.edge_http_port, settings.edge_https_port) if is_front() else ()


def _openings(settings: FirewallSettings, ssh_port: int) -> list[Opening]:
    openings = [Opening(ssh_port, "tcp", tuple(settings.firewall_ssh_from))]
    openings += [Opening(port, "tcp", EVERYONE) for port in _public_ports()]
    if plays("hub") and not is_front():
        edge = tuple(networks(tier_host("edge")))
        openings.append(Opening(load(EdgeSettings).proxy_port, "tcp", edge))
    if plays("db") and not plays("hub"):
        hub = tuple(networks(tier_host("hub")))
        openings.append(Opening(DATABASE_PORT, "tcp", hub))
    openings += [
        Opening(port.port, port.protocol, tuple(port.sources)) for port in settings.firewall_open
    ]
    return openings


def _users(settings: FirewallSettings) -> Users:
    docker = load(DockerSettings)
    here = cast(Host, ctx_host.get())
    others = [net for other in ctx_inventory.get() if other is not here for net in networks(other)]
    internet = settings.firewall_user_internet
    resolvers: list[IPv4Address] = host.get_fact(Resolvers) if internet else []
    return Users(
        bridge=docker.docker_bridge,
        gateway=docker.gateway,
        gateway_ports=(load(HubSettings).hub_api_port, *_public_ports()),
        internet=internet,
        never=(LINK_LOCAL, *(net for net in others if isinstance(net, IPv4Network))),
        allow=tuple(settings.firewall_user_allow),
        deny=tuple(settings.firewall_user_deny),
        resolvers=tuple(resolvers),
    )


def policy(settings: FirewallSettings) -> Policy:
    """What the settings and the topology mean for the host at hand. Raises LockOutError."""
    connection = host.get_fact(SshConnection, _sudo=False)
    ssh_port = refuse_lock_out(settings, connection, host.name)
    users = _users(settings) if serves("jupyterhub") else None
    return Policy(tuple(_openings(settings, ssh_port)), users)


@deploy("firewall")
def firewall() -> None:
    settings = load(FirewallSettings)
    if not settings.firewall:
        _remove()
        return
    v4, v6 = chains.rules(policy(settings))

    packages.installed(name="Install iptables", packages=distribution().iptables_packages)
    files.present(
        name="Write the firewall's script and units",
        entries={
            "/etc/hubstead": files.Directory(),
            DIRECTORY: files.Directory(),
            "/usr/local/lib/hubstead": files.Directory(),
            chains.APPLY: files.File(program("firewall-apply.sh"), mode="755"),
            f"{SYSTEM}/{UNIT}": files.File(render("firewall", f"{SYSTEM}/{UNIT}")),
        },
    )
    chains.enforced(name="Enforce the firewall's rules", v4=v4, v6=v6)
    units.running(name="Enforce them at boot", unit=UNIT)
    if serves("jupyterhub"):
        files.present(
            name="Write what enforces them in front of Docker's",
            entries={
                f"{SYSTEM}/{DOCKER_UNIT}": files.File(render("firewall", f"{SYSTEM}/{DOCKER_UNIT}"))
            },
        )
        units.running(name="Enforce them when Docker has started", unit=DOCKER_UNIT)


def _remove() -> None:
    units.stopped(name="Stop enforcing the firewall's rules at boot", unit=UNIT)
    units.stopped(name="Stop enforcing them when Docker starts", unit=DOCKER_UNIT)
    chains.absent(name="Remove the firewall's rules", script=program("firewall-apply.sh"))
    files.present(
        name="Remove the firewall's files",
        entries={
            f"{SYSTEM}/{UNIT}": None,
            f"{SYSTEM}/{DOCKER_UNIT}": None,
            chains.APPLY: None,
            DIRECTORY: None,
        },
    )
