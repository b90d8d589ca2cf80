"""Resolver: Traefik's own ACME client, where Traefik faces the internet.

Traefik orders and renews; a script of ours waits for the first certificate, copies each one to
where the servers' certificates are, so that another front can begin with it, and clears the store.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from hubstead.operations import acme, files, units
from hubstead.programs import program
from hubstead.render import render
from hubstead.roles.base import ROLES, claim
from hubstead.roles.traefik import DYNAMIC, STORE

SCRIPT = "/usr/local/lib/hubstead/traefik-certificate"
_PATH, _SERVICE = (
    f"/etc/systemd/system/hubstead-traefik-certificate.{suffix}" for suffix in ("path", "service")
)


@deploy("resolver")
def resolver() -> None:
    """Once Traefik runs, and the internet reaches it."""
    claim("resolver")
    files.present(
        name="Write what waits for Traefik's certificates",
        entries={
            SCRIPT: files.File(program("traefik_certificate.py"), mode="755"),
            _PATH: files.File(render("resolver", _PATH)),
            _SERVICE: files.File(render("resolver", _SERVICE)),
        },
    )
    units.running(name="Watch for them", unit="hubstead-traefik-certificate.path")
    acme.obtained(name="Get the certificate", script=SCRIPT)


@deploy("resolver")
def absent() -> None:
    units.stopped(name="Stop watching for certificates", unit="hubstead-traefik-certificate.path")
    units.stopped(name="Stop a copy of one", unit="hubstead-traefik-certificate.service")
    files.present(
        name="Remove Traefik's certificates",
        entries={
            _PATH: None,
            _SERVICE: None,
            STORE: None,
            f"{DYNAMIC}/order.toml": None,
            SCRIPT: None,
            f"{ROLES}/resolver": None,
        },
    )
