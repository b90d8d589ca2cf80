"""Settings of the firewall."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hubstead.operations.firewall import EVERYONE, LINK_LOCAL, Network
from hubstead.settings.model import Settings

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
        '`protocol` ("tcp" by default, or "udp") and `from`, a list of networks (by default all; '
        "empty: the port is known and stays shut).",
    )
    firewall_connections: int = Field(
        4096,
        ge=0,
        description="Connections that one address (IPv6: one /64) may have with the service at "
        "once; 0: any number. A person at work has some ten, and a class may share an address.",
    )
    firewall_user_connections: int = Field(
        256,
        ge=0,
        description="Connections that one user's server may have with the Hub and the service at "
        "once; 0: any number.",
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
