"""Redirect: port 80 of configurable-http-proxy, which has none: lighttpd leads to HTTPS there.

It answers the challenges of an ACME server from the webroot, too.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host
from pyinfra.operations import server

from hubstead.operations import files, packages, units
from hubstead.render import render
from hubstead.roles import tls
from hubstead.roles.base import ROLES, claim, distribution
from hubstead.roles.edge import EdgeSettings
from hubstead.roles.ports import refuse_taken_ports
from hubstead.settings import load

UNIT = "hubstead-redirect.service"
_FILE = f"/etc/systemd/system/{UNIT}"
_CONFIGURATION = "/etc/hubstead/redirect.conf"


def _packaged() -> str:
    """The mask of the package's own unit, which starts at its installation, on port 80."""
    return f"/etc/systemd/system/{distribution().lighttpd.unit}"


def _is_ours() -> bool:
    """Whether lighttpd is on the host for this role alone, or not at all."""
    wanted = list(distribution().lighttpd.packages)
    installed = host.get_fact(packages.Packages, wanted).installed
    return not installed or bool(host.get_fact(packages.Note, "redirect"))


@deploy("redirect")
def redirect() -> None:
    settings = load(EdgeSettings)
    refuse_taken_ports("redirect", {"edge_http_port": settings.edge_http_port})

    claim("redirect")
    if _is_ours():
        files.present(
            name="Mask the unit of lighttpd's package",
            entries={_packaged(): files.Link("/dev/null")},
        )
    packages.installed(
        name="Install lighttpd", packages=distribution().lighttpd.packages, owner="redirect"
    )
    files.present(
        name="Write the way from HTTP to HTTPS",
        entries={
            "/etc/hubstead": files.Directory(),
            _CONFIGURATION: files.File(
                render("redirect", _CONFIGURATION, settings=settings, webroot=tls.WEBROOT)
            ),
            "/var/lib/hubstead": files.Directory(),
            tls.WEBROOT: files.Directory(),
            _FILE: files.File(render("redirect", _FILE, configuration=_CONFIGURATION)),
        },
    )
    units.running(name="Run lighttpd", unit=UNIT, inputs=[_CONFIGURATION])


@deploy("redirect")
def absent() -> None:
    """Remove it; lighttpd stays where somebody else needs it."""
    ours = _is_ours()
    units.stopped(name="Stop lighttpd", unit=UNIT)
    packages.purged(name="Remove lighttpd's package", owner="redirect")
    files.present(
        name="Remove the way from HTTP to HTTPS",
        entries={
            _FILE: None,
            _CONFIGURATION: None,
            tls.WEBROOT: None,
            **({_packaged(): None} if ours else {}),
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
