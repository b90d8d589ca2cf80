"""Edge: which process faces the internet, under which names and ports, and how it gets there.

The proxy (Traefik or configurable-http-proxy) routes users to their servers, on the hub host. The
edge (Nginx or Apache), where there is one, stands in front of it, on the hub host or on one of its
own. Whichever of them faces the internet is the front.
"""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field, field_validator
from pyinfra.api.host import Host
from pyinfra.context import ctx_host

from hubstead.roles.base import address, networks
from hubstead.settings import Settings, load
from hubstead.texts import is_address, is_host_name
from hubstead.topology import TopologyError, tier_host

#: Ports of the proxies' APIs, on loopback
API_PORTS = {"traefik": 8099, "chp": 8001}
#: TLS 1.2 in Mozilla's intermediate profile, without the ciphers that need Diffie-Hellman
#: parameters: https://wiki.mozilla.org/Security/Server_Side_TLS
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)


class EdgeSettings(Settings):
    """What faces the internet."""

    prefixes = ("proxy_", "edge_")
    everywhere = ("proxy", "edge", "hub_names")

    proxy: Literal["traefik", "chp"] = Field(
        "traefik",
        description="What routes users to their servers; chp: configurable-http-proxy.",
    )
    proxy_port: int = Field(
        8000,
        ge=1024,
        le=65535,
        description="Port of the proxy behind an edge, over TLS; of no use without an edge.",
    )
    edge: Literal["none", "nginx", "apache"] = Field(
        "none", description="What faces the internet in front of it; none: the proxy itself."
    )
    edge_http_port: int = Field(80, ge=1, le=65535, description="Port that leads to HTTPS.")
    edge_https_port: int = Field(443, ge=1, le=65535, description="Port of the service.")
    edge_upload_limit: int = Field(
        512,
        ge=0,
        description="MiB that one request may bring to the edge; 0: no limit. The default is that "
        "of Jupyter's own server.",
    )
    edge_site: bool = Field(
        True,
        description="Whether the edge gets a site of ours, with ports and certificate; False: only "
        "what the owner's own site includes to lead to the service.",
    )
    edge_ocsp: bool = Field(
        False,
        description="Staple the answers of the certificate authority's OCSP server, for those that "
        "still have one.",
    )
    hub_names: list[str] = Field(
        [],
        description="Names under which people reach the service, the main one first; by default "
        "the name in the inventory of the host that faces the internet.",
    )

    @field_validator("hub_names")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not is_host_name(name) and not (is_address(name) and ":" not in name):
                raise ValueError(
                    f"{name!r} is not a host name such as hub.example.org, of lower-case letters, "
                    "digits and inner hyphens between its dots, nor an IPv4 address"
                )
        return value

    @property
    def port_in_url(self) -> str:
        """What follows a name in the service's addresses: empty for 443, such as :8443 else."""
        return "" if self.edge_https_port == 443 else f":{self.edge_https_port}"

    def check(self) -> None:
        if self.edge == "none" and not self.edge_site:
            raise ValueError("`edge_site` = False needs an `edge`: without one there is no site")
        ports = {"edge_http_port": self.edge_http_port, "edge_https_port": self.edge_https_port}
        if self.edge != "none":
            ports["proxy_port"] = self.proxy_port
        if len(set(ports.values())) < len(ports):
            raise ValueError(f"{', '.join(f'`{key}`' for key in ports)} must differ")
        for key, port in ports.items():
            if port == API_PORTS[self.proxy]:
                raise ValueError(f"`{key}` = {port}: the API of {self.proxy} has this port")


def front_host() -> Host:
    """The host that faces the internet.

    Raises TopologyError where a host in the group `edge` would have nothing to do.
    """
    edge = tier_host("edge")
    if edge is not tier_host("hub") and load(EdgeSettings).edge == "none":
        raise TopologyError(
            f"The group `edge` has the host {edge.name}, and `edge` = 'none' means that the proxy "
            'on the hub host faces the internet. Set `edge` to "nginx" or "apache", or remove the '
            "group."
        )
    return edge


def is_front() -> bool:
    """Whether the host at hand faces the internet."""
    return front_host() is cast(Host, ctx_host.get())


def names() -> list[str]:
    """The names of the service, the main one first."""
    front = front_host().name
    return load(EdgeSettings).hub_names or ["localhost" if front.startswith("@") else front]


def public_url() -> str:
    """The address of the service, without a path."""
    return f"https://{names()[0]}{load(EdgeSettings).port_in_url}"


def shares_host() -> bool:
    """Whether the edge is on the hub host."""
    return tier_host("edge") is tier_host("hub")


def proxy_address() -> str:
    """Where the edge finds the proxy: the name or address that the proxy's certificate has."""
    return "localhost" if shares_host() else address(tier_host("hub"))


def edge_networks() -> list[str]:
    """The edge as the proxy sees it: whose word on the visitor's address and scheme is believed.

    Each network is of one address; none without an edge.
    """
    if load(EdgeSettings).edge == "none":
        return []
    if shares_host():
        return ["127.0.0.1/32", "::1/128"]
    return [str(network) for network in networks(tier_host("edge"))]
