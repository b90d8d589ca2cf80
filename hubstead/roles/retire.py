"""Retire: the removal of roles that the settings no longer want on a host."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead.roles import apache, certbot, chp, former, nginx, traefik
from hubstead.roles.application import application
from hubstead.roles.base import machine
from hubstead.roles.wanted import wanted


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
        if "certbot" in wanted():
            former.resolver_kept()
        former.resolver_absent()
    if "nginx" in gone:
        nginx.absent()
    if "apache" in gone:
        apache.absent()
    if "redirect" in gone:
        former.redirect_absent()
    if "chp" in gone:
        chp.absent()
    if "traefik" in gone:
        traefik.absent()
