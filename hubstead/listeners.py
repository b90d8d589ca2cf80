"""Listeners: each TCP port on which something of ours listens, declared once.

The firewall, the check for taken ports, the names in certificates, the alarm for those that end and
verify read this list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hubstead import hub, parts
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.model import SettingsError
from hubstead.settings.tls import TlsSettings
from hubstead.site import Site

#: Whoever asks; the host that plays a tier; the users' servers
Reach = Literal["everyone", "edge", "hub", "servers"]
LOOPBACK = "127.0.0.1"
#: Where certbot answers the challenges of an ACME server (RFC 8555, 8.3), on loopback: a port that
#: root alone can take, and that nobody has (IANA)
CHALLENGE_PORT = 8
#: Where the proxy gets its error pages, in the same way
PAGES_PORT, PAGES_UNIT = 14, "hubstead-pages.service"
DATABASE_PORT = 5432


@dataclass(frozen=True)
class Listener:
    """A TCP port of the host at hand.

    + role: whose process it is; None for the owner's, who leads to the service from there.
    + setting: the key that moves it; None where it is fixed.
    + unit: of systemd, to which the process belongs.
    + reach: who may connect, beside the host itself.
    + address: where it listens; None: on every address.
    + certificate: the protocol in which it shows one (`openssl s_client -starttls`, or "tls").
    + names: in that certificate; `*.NAME` is for each one below NAME.
    + accounts: who of the host's may connect; None for all.
    + always: whether it listens as long as the host runs.
    """

    role: str | None
    port: int
    unit: str
    setting: str | None = None
    reach: tuple[Reach, ...] = ()
    address: str | None = None
    certificate: Literal["tls", "postgres"] | None = None
    names: tuple[str, ...] = ()
    accounts: tuple[str, ...] | None = None
    always: bool = True

    def __str__(self) -> str:
        return f"`{self.setting}`" if self.setting else self.unit


def listeners(site: Site) -> list[Listener]:
    """Those of the host at hand. Raises SettingsError where two have the same port."""
    found = [*_front(site), *_behind_the_edge(site), *_hub(site), *_database(site)]
    by_port: dict[int, Listener] = {}
    for listener in found:
        other = by_port.setdefault(listener.port, listener)
        if other is not listener:
            keys = " or ".join(f"`{key}`" for key in (listener.setting, other.setting) if key)
            raise SettingsError(
                f"{site.here.name}: {listener} and {other} have the same port, {listener.port}; no "
                f"host was touched. Set {keys} to another."
            )
    return found


def _front(site: Site) -> Iterator[Listener]:
    """What people reach; certbot answers the ACME server behind it."""
    if not site.plays("edge"):
        return
    settings = site[EdgeSettings]
    edges = site.distribution.edges
    unit = edges[site.front].unit if site.has_edge else parts.proxy(site).unit
    role = site.front if settings.edge_site else None
    yield Listener(role, settings.edge_http_port, unit, "edge_http_port", ("everyone", "servers"))
    yield Listener(
        role,
        settings.edge_https_port,
        unit,
        "edge_https_port",
        ("everyone", "servers"),
        certificate="tls" if role else None,
        names=tuple(site.every_name),
    )
    if site[TlsSettings].answers_over_http:
        yield Listener("certbot", CHALLENGE_PORT, "certbot.service", address=LOOPBACK, always=False)


def _behind_the_edge(site: Site) -> Iterator[Listener]:
    if not site.plays("hub") or not site.has_edge:
        return
    is_hub = site.application == "jupyterhub"
    yield Listener(
        site[EdgeSettings].proxy if is_hub else "jupyterlab",
        site[EdgeSettings].proxy_port,
        parts.proxy(site).unit if is_hub else site.distribution.nginx.unit,
        "proxy_port",
        ("edge",) if site.edge_apart else (),
        address=None if site.edge_apart else LOOPBACK,
        # what comes from the edge's address is believed about the visitor's
        accounts=None if site.edge_apart else ("root", site.distribution.edges[site.front].user),
        certificate="tls",
        names=(site.proxy_address,),
    )


def _hub(site: Site) -> Iterator[Listener]:
    if not site.serves("jupyterhub"):
        return
    proxy = parts.proxy(site)
    # the Hub believes whoever connects from the host itself about the visitor's address, as it does
    # the proxy (xheaders, tornado.httpserver)
    accounts = "root", hub.USER, proxy.user
    yield Listener(
        "jupyterhub",
        site[HubSettings].hub_api_port,
        "jupyterhub.service",
        "hub_api_port",
        ("servers",),
        address=str(parts.spawner(site).network(site).gateway),
        accounts=accounts,
    )
    yield Listener(
        site[EdgeSettings].proxy,
        proxy.api_port,
        proxy.unit,
        address=LOOPBACK,
        accounts=accounts,
    )
    yield Listener("pages", PAGES_PORT, PAGES_UNIT, address=LOOPBACK)


def _database(site: Site) -> Iterator[Listener]:
    """On the hub host it is a Unix socket alone."""
    if site.plays("db") and site.db_apart:
        yield Listener(
            "postgres",
            DATABASE_PORT,
            site.distribution.postgres.unit,
            reach=("hub",),
            certificate="postgres",
            names=(site.db.address,),
        )
