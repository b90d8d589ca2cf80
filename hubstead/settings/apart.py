"""Apart: at which names people's servers are, and so what a page of one reaches in a browser.

A browser gives each page the rights of its origin: scheme, name and port (RFC 6454, 4). A server
shows whatever its owner wants, so at the Hub's own name its pages have the Hub's rights. JupyterHub
makes no promise for that case ("Security Overview", on subdomains).
"""

from __future__ import annotations

from pydantic import Field, field_validator

from hubstead.settings.application import ApplicationSettings
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.model import Others, Settings
from hubstead.settings.tls import TlsSettings
from hubstead.texts import is_host_name

KEYS = ("hub_user_domains", "hub_servers_name", "hub_people_trust_each_other")


class ApartSettings(Settings):
    """People from each other, in the browser: one of the three."""

    prefixes = ("hub_",)
    everywhere = KEYS

    hub_user_domains: bool = Field(
        False,
        description="A name below the service's for each person's server, such as "
        "ada.hub.example.org: nobody's page reaches the Hub or somebody else's server. Needs a DNS "
        "record for *.hub.example.org.",
    )
    hub_servers_name: str | None = Field(
        None,
        description="One further name for all people's servers, such as servers.example.org: "
        "nobody's page reaches the Hub, but the servers are open to each other's pages.",
    )
    hub_people_trust_each_other: bool = Field(
        False,
        description="The Hub and all servers at one name: whoever opens a link to somebody's "
        "server gives away their account by that, and an admin the whole service. Each run warns.",
    )

    @field_validator("hub_servers_name")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        if value is not None and not is_host_name(value):
            raise ValueError(
                "not a host name such as servers.example.org, of lower-case letters, digits and "
                "inner hyphens between its dots"
            )
        return value

    def check_beside(self, others: Others) -> None:
        if others[ApplicationSettings].application != "jupyterhub":
            return
        chosen = [key for key in KEYS if getattr(self, key)]
        if not chosen:
            raise ValueError(
                "People's servers show whatever pages they like: say how far these are kept from "
                "the Hub and from each other, by one of `hub_user_domains` = True (a name for each "
                'person), `hub_servers_name` = "servers.example.org" (one for all servers) and '
                "`hub_people_trust_each_other` = True (not at all); docs/apart.md"
            )
        if len(chosen) > 1:
            raise ValueError(
                f"{' and '.join(f'`{key}`' for key in chosen)} are different choices: set one of "
                "them (docs/apart.md)"
            )
        tls = others[TlsSettings]
        if self.hub_user_domains and tls.answers_over_http:
            raise ValueError(
                "`hub_user_domains` needs a certificate for every name below the service's, which "
                "an ACME server gives for answers in the DNS alone: set `tls_acme_dns` "
                "(docs/tls.md), or `hub_servers_name` in its place, or bring a certificate with "
                "`tls` = 'files'"
            )
        if self.hub_servers_name in others[EdgeSettings].hub_names:
            raise ValueError(
                f"`hub_servers_name` = {self.hub_servers_name!r} is one of `hub_names`: the Hub "
                "and the servers need different names"
            )
