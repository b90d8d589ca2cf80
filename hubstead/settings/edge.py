"""Edge: which process faces the internet, under which names and ports, and how it gets there.

The proxy (Traefik or configurable-http-proxy) routes users to their servers, on the hub host. The
edge (Nginx or Apache), where there is one, stands in front of it, on the hub host or on one of its
own. Whichever of them faces the internet is the front.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from hubstead.settings.model import PROXIES, Settings
from hubstead.texts import is_address, is_host_name


class EdgeSettings(Settings):
    """What faces the internet."""

    prefixes = ("proxy_", "edge_")
    everywhere = ("proxy", "edge", "hub_names")

    proxy: Annotated[str, PROXIES] = Field(
        "traefik",
        description="What routes users to their servers; chp: configurable-http-proxy.",
    )
    proxy_port: int = Field(
        8000,
        ge=1,
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
    edge_ask_from_here: bool = Field(
        True,
        description="At the end of a run, ask for the login page from the control machine too, by "
        "name and certificate.",
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
