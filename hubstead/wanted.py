"""Wanted: which roles a host has, by its tier and the settings.

This is the one place that says so: deploys/all.py, each script beside it and the removal of what is
no longer wanted (hubstead.retire) ask here.
"""

from __future__ import annotations

from collections.abc import Callable

from pyinfra import logger

from hubstead.settings.edge import EdgeSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.model import AUTHENTICATORS, PROXIES, SPAWNERS
from hubstead.settings.tls import TlsSettings
from hubstead.site import Site


def _roles(site: Site) -> dict[str, bool]:
    """Role to whether the host at hand has it, in the order of deploys/all.py."""
    hub, lab = site.serves("jupyterhub"), site.serves("jupyterlab")
    spawner, proxy = site[HubSettings].hub_spawner, site[EdgeSettings].proxy
    ways = site[HubSettings].ways
    edge = site[EdgeSettings].edge if site.plays("edge") else None
    return {
        "base": True,
        "firewall": True,
        "tls": True,
        "postgres": site.plays("db"),
        "python": hub or lab,
        "userdb": lab or (hub and "users-table" in ways),
        "node": hub,
        **{name: hub and name == spawner for name in SPAWNERS.names},
        **{name: hub and name == proxy for name in PROXIES.names},
        **{name: hub and name in ways for name in AUTHENTICATORS.names},
        "jupyterhub": hub,
        "jupyterlab": lab,
        "nginx": edge == "nginx",
        "apache": edge == "apache",
        "certbot": site.plays("edge") and site[TlsSettings].tls == "acme",
        "expiry": True,
        "verify": True,
    }


def wants(site: Site, role: str) -> bool:
    """Whether the host at hand has `role`. Raises KeyError for one that does not exist."""
    return _roles(site)[role]


def if_wanted(site: Site, role: Callable[[Site], object]) -> None:
    """Deploy a role, by the name of its function, where the host at hand has it."""
    if wants(site, role.__name__):
        role(site)


def alone(site: Site, role: Callable[[Site], object], name: str = "") -> None:
    """Deploy one role, whose name its function has unless told, or say that the host has none."""
    name = name or role.__name__
    if wants(site, name):
        role(site)
    else:
        logger.info(f"{site.here.name}: no {name} here, by the settings: nothing to do")


def wanted(site: Site) -> set[str]:
    """The roles of the host at hand."""
    return {role for role, is_wanted in _roles(site).items() if is_wanted}
