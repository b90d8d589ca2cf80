"""Retire: which roles the settings want on a host, and the removal of those that they do not."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead.roles import apache, certbot, chp, nginx, redirect, resolver, tls, traefik
from hubstead.roles.application import application
from hubstead.roles.base import machine
from hubstead.roles.edge import EdgeSettings
from hubstead.settings import load
from hubstead.topology import plays


def wanted() -> set[str]:
    """The roles of the host at hand, among those that another setting would make needless."""
    settings = load(EdgeSettings)
    roles: set[str] = set()
    if plays("hub"):
        roles.add(application())
    if plays("hub") and application() == "jupyterhub":
        roles.add(settings.proxy)
        if settings.proxy == "chp" and settings.edge == "none":
            roles.add("redirect")
    if plays("edge") and settings.edge != "none":
        roles.add(settings.edge)
    if plays("edge") and tls.way() in ("certbot", "traefik"):
        roles.add("certbot" if tls.way() == "certbot" else "resolver")
    return roles


def wants(role: str) -> bool:
    """Whether the settings want `role` on the host at hand."""
    return role in wanted()


@deploy("retire")
def retire() -> None:
    """Before anything new starts, so that ports are free."""
    gone = set(machine().roles) - wanted()
    for served in {"jupyterhub", "jupyterlab"} & gone:
        raise PyinfraError(
            f"{host.name} serves people by {served}, and `application` = {application()!r}: their "
            "files would be left behind. Take another host, or set `application` back."
        )
    if "certbot" in gone:
        certbot.absent()
    if "resolver" in gone:
        resolver.absent()
    if "nginx" in gone:
        nginx.absent()
    if "apache" in gone:
        apache.absent()
    if "redirect" in gone:
        redirect.absent()
    if "chp" in gone:
        chp.absent()
    if "traefik" in gone:
        traefik.absent()
