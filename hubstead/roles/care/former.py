"""Former: what earlier versions put on a host, and how it is carried over or removed.

Traefik once asked the ACME server by itself (the role `resolver`), and lighttpd led from port 80 to
HTTPS before configurable-http-proxy (the role `redirect`).
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host
from pyinfra.operations import server

from hubstead.notes import ROLES
from hubstead.operations import files, packages, units
from hubstead.programs import program

_WATCH = "hubstead-traefik-certificate"
_LIGHTTPD = "hubstead-redirect.service"


@deploy("resolver")
def resolver_kept() -> None:
    """Make Traefik's certificate one that certbot renews; it orders another where it cannot."""
    server.shell(
        name="Give certbot the certificate that Traefik got",
        commands=["python3 -I -"],
        _stdin=program("traefik_lineage.py"),
    )


@deploy("resolver")
def resolver_absent() -> None:
    units.stopped(name="Stop watching for certificates", unit=f"{_WATCH}.path")
    units.stopped(name="Stop a copy of one", unit=f"{_WATCH}.service")
    files.present(
        name="Remove Traefik's certificates",
        entries={
            f"/etc/systemd/system/{_WATCH}.path": None,
            f"/etc/systemd/system/{_WATCH}.service": None,
            "/var/lib/traefik/acme": None,
            "/var/lib/traefik/dynamic/order.toml": None,
            "/usr/local/lib/hubstead/traefik-certificate": None,
            f"{ROLES}/resolver": None,
        },
    )


@deploy("redirect")
def redirect_absent() -> None:
    """Remove it; lighttpd stays where it did not come for this role."""
    installed = "lighttpd" in host.get_fact(packages.Packages, ["lighttpd"]).installed
    ours = not installed or bool(host.get_fact(packages.Note, "redirect"))
    units.stopped(name="Stop lighttpd", unit=_LIGHTTPD)
    packages.purged(name="Remove lighttpd's package", owner="redirect")
    files.present(
        name="Remove the way from HTTP to HTTPS",
        entries={
            f"/etc/systemd/system/{_LIGHTTPD}": None,
            "/etc/hubstead/redirect.conf": None,
            # it masked the package's own unit
            **({"/etc/systemd/system/lighttpd.service": None} if ours else {}),
        },
    )
    if ours:
        server.shell(
            name="Remove what the package leaves behind",
            commands=[
                "rm -f /var/www/html/index.lighttpd.html"
                " /var/lib/systemd/timers/stamp-lighttpd-maint.timer",
                "cd /var && [ ! -d www/html ] || rmdir -p --ignore-fail-on-non-empty www/html",
            ],
        )
    files.present(name="Note down that it is gone", entries={f"{ROLES}/redirect": None})
