"""Wanted: which roles a host of the inventory has, by its tier and the settings.

This is the one place that says so: deploys/all.py, each script beside it and the removal of what is
no longer wanted (hubstead.roles.retire) ask here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hubstead.roles.application import serves
from hubstead.roles.edge import EdgeSettings
from hubstead.roles.tls import TlsSettings
from hubstead.settings import load
from hubstead.topology import plays


def _everywhere() -> bool:
    return True


def _proxies_by(proxy: str) -> bool:
    return serves("jupyterhub") and load(EdgeSettings).proxy == proxy


def _faces_the_internet_by(edge: str) -> bool:
    return plays("edge") and load(EdgeSettings).edge == edge


def _asks_an_acme_server() -> bool:
    return plays("edge") and load(TlsSettings).tls == "acme"


#: Role to whether the host at hand has it, in the order of deploys/all.py
_ROLES: dict[str, Callable[[], bool]] = {
    "base": _everywhere,
    "firewall": _everywhere,
    "tls": _everywhere,
    "postgres": partial(plays, "db"),
    "python": partial(plays, "hub"),
    "userdb": partial(plays, "hub"),
    "node": partial(serves, "jupyterhub"),
    "docker": partial(serves, "jupyterhub"),
    "traefik": partial(_proxies_by, "traefik"),
    "chp": partial(_proxies_by, "chp"),
    "jupyterhub": partial(serves, "jupyterhub"),
    "jupyterlab": partial(serves, "jupyterlab"),
    "nginx": partial(_faces_the_internet_by, "nginx"),
    "apache": partial(_faces_the_internet_by, "apache"),
    "certbot": _asks_an_acme_server,
    "expiry": _everywhere,
    "verify": _everywhere,
}


def wants(role: str) -> bool:
    """Whether the host at hand has `role`. Raises KeyError for one that does not exist."""
    return _ROLES[role]()


def wanted() -> set[str]:
    """The roles of the host at hand."""
    return {role for role in _ROLES if wants(role)}
