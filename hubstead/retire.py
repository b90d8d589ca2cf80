"""Retire: the removal of roles that the settings no longer want on a host."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from hubstead import parts
from hubstead.roles.care import former
from hubstead.roles.certificates import certbot
from hubstead.roles.edge import apache, nginx
from hubstead.site import Site
from hubstead.wanted import wanted


@deploy("retire")
def retire(site: Site) -> None:
    """Before anything new starts, so that ports are free."""
    gone = set(site.machine.roles) - wanted(site)
    for served in {"jupyterhub", "jupyterlab"} & gone:
        raise PyinfraError(
            f"{site.here.name} serves people by {served}, and `application` = "
            f"{site.application!r}: their files would be left behind. Take another host, or set "
            "`application` back."
        )
    if "certbot" in gone:
        certbot.absent()
    if "resolver" in gone:
        if "certbot" in wanted(site):
            former.resolver_kept()
        former.resolver_absent()
    if "nginx" in gone:
        nginx.absent(site=site)
    if "apache" in gone:
        apache.absent(site=site)
    if "redirect" in gone:
        former.redirect_absent()
    for name, authenticator in parts.authenticators().items():
        if name in gone:
            authenticator.absent(site)
    for name, spawner in parts.spawners().items():
        if name in gone:
            spawner.absent(site)
    for name, proxy in parts.proxies().items():
        if name in gone:
            proxy.absent(site)
