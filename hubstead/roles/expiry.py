"""Expiry: the alarm for certificates that are about to end, on every host that serves one.

It asks over TLS, as a visitor would: what lies on the disk may be newer than what is served.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from hubstead.operations import files, units
from hubstead.programs import program
from hubstead.render import render
from hubstead.roles import edge, tls
from hubstead.roles.base import address
from hubstead.settings import load
from hubstead.topology import plays, tier_host

SCRIPT = "/usr/local/lib/hubstead/certificate-check"
ENDPOINTS = f"{tls.INTERNAL}/endpoints"
_UNIT = "hubstead-certificate-check"
_SERVICE, _TIMER = (f"/etc/systemd/system/{_UNIT}.{suffix}" for suffix in ("service", "timer"))


def endpoints() -> list[str]:
    """What the host at hand serves over TLS: protocol, address, port, name."""
    front = load(edge.EdgeSettings)
    found = []
    if edge.is_front() and front.edge_site:
        found += [f"tls 127.0.0.1 {front.edge_https_port} {name}" for name in edge.names()]
    if plays("hub") and front.edge != "none":
        found.append(f"tls 127.0.0.1 {front.proxy_port} {edge.proxy_address()}")
    if plays("db") and not plays("hub"):
        found.append(f"postgres 127.0.0.1 5432 {address(tier_host('db'))}")
    return found


@deploy("expiry")
def expiry() -> None:
    days = load(tls.TlsSettings).tls_expiry_days
    files.present(
        name="Write the alarm for certificates",
        entries={
            tls.INTERNAL: files.Directory(),
            ENDPOINTS: files.File("".join(f"{line}\n" for line in endpoints())),
            SCRIPT: files.File(program("certificate_check.py"), mode="755"),
            _SERVICE: files.File(render("expiry", _SERVICE, days=days)),
            _TIMER: files.File(render("expiry", _TIMER)),
        },
    )
    units.running(name="Look for them every hour", unit=f"{_UNIT}.timer")
