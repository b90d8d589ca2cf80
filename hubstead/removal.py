"""Removal: the service goes from its hosts; what is people's, or the owners', stays."""

from __future__ import annotations

from pyinfra.api.exceptions import PyinfraError

from hubstead import parts
from hubstead.notes import ROLES
from hubstead.operations import files
from hubstead.progress import summarise, tier
from hubstead.roles.care import former
from hubstead.roles.certificates import certbot, expiry, tls
from hubstead.roles.database import postgres, userdb
from hubstead.roles.edge import apache, nginx
from hubstead.roles.hub import jupyterhub
from hubstead.roles.lab import jupyterlab
from hubstead.roles.machine import base, firewall, node, python
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.removal import RemovalSettings
from hubstead.site import Site


def _left(site: Site) -> str:
    """What the removal leaves on the host at hand, in words."""
    left = []
    if site.serves("jupyterhub"):
        left.append(f"people's files in {site[HubSettings].hub_files}")
    if site.serves("jupyterlab"):
        left.append(f"notebooks in {jupyterlab.DATA}")
    if site.plays("db"):
        left.append("the databases of PostgreSQL")
    return ", ".join([*left, "packages of the distribution", f"what is in {files.STATE}"])


def _refuse_without_the_word(site: Site) -> None:
    """Raises PyinfraError unless the run names the service that it may remove."""
    name, word = site.names[0], site[RemovalSettings].remove_service
    if word == name:
        return
    other = f", and not {word}" if word else ""
    raise PyinfraError(
        f"{site.here.name}: the service there is {name}{other}; nothing was changed. Its removal "
        "ends everybody's server, closes the service, and takes its certificates, keys and "
        f"firewall rules away. It leaves {_left(site)} (docs/remove.md). To remove it, run again "
        f"with `--data remove_service={name}`."
    )


def remove(site: Site) -> None:
    """Every role that is on the host, the front first and the ground last.

    To be called for each host of the run. Nothing is changed on any of them, where the run does
    not say which service it may remove.
    """
    _refuse_without_the_word(site)
    there = set(site.machine.roles)

    # first, since nothing runs it, and accounts and packages do not go from a disk without room
    python.absent()

    tier("edge")
    if "jupyterlab" in there:
        # which has a site of its own on Nginx
        jupyterlab.absent(site=site)
    if "apache" in there:
        apache.absent(site=site)
    if there & {"nginx", "jupyterlab"}:
        nginx.absent(site=site)
        files.present(
            name="Note down that JupyterLab is gone", entries={f"{ROLES}/jupyterlab": None}
        )
    if "certbot" in there:
        certbot.absent()
    if "resolver" in there:
        former.resolver_absent()
    if "redirect" in there:
        former.redirect_absent()

    tier("hub")
    if "jupyterhub" in there:
        jupyterhub.absent()
    for name, authenticator in parts.authenticators().items():
        if name in there:
            authenticator.absent(site)
    for spawner in parts.spawners().values():
        spawner.absent(site)
    for name, proxy in parts.proxies().items():
        if name in there:
            proxy.absent(site)
    userdb.absent()
    node.absent()

    tier("database")
    if site.plays("db"):
        postgres.absent(site=site)

    tier("base")
    expiry.absent()
    tls.absent()
    firewall.absent()
    base.absent(site=site)
    summarise(f"Removed from {site.here.name}; it has {_left(site)} still (docs/remove.md)")
