"""Expiry: the alarm for certificates that are about to end, on every host that serves one.

It asks over TLS, as a visitor would: what lies on the disk may be newer than what is served.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from hubstead.certificates import INTERNAL
from hubstead.listeners import LOOPBACK, listeners
from hubstead.operations import files, units
from hubstead.programs import program
from hubstead.render import render
from hubstead.settings.tls import TlsSettings
from hubstead.site import Site

SCRIPT = "/usr/local/lib/hubstead/certificate-check"
#: What it found, for Prometheus' node-exporter
_METRICS = "/var/lib/prometheus/node-exporter/hubstead_certificate.prom"
ENDPOINTS = f"{INTERNAL}/endpoints"
_UNIT = "hubstead-certificate-check"
_SERVICE, _TIMER = (f"/etc/systemd/system/{_UNIT}.{suffix}" for suffix in ("service", "timer"))
#: Seconds that a look may take: programs/certificate_check.py waits for 60 for who is just starting
_PATIENCE = 90


def endpoints(site: Site) -> list[str]:
    """What the host at hand serves over TLS: protocol, address, port, name."""
    return [
        # any name will do where a certificate is for all of them
        f"{listener.certificate} {LOOPBACK} {listener.port} {name.replace('*', 'any')}"
        for listener in listeners(site)
        if listener.certificate
        for name in listener.names
    ]


@deploy("expiry")
def expiry(site: Site) -> None:
    days = site[TlsSettings].tls_expiry_days
    files.present(
        name="Write the alarm for certificates",
        entries={
            INTERNAL: files.Directory(),
            ENDPOINTS: files.File("".join(f"{line}\n" for line in endpoints(site))),
            SCRIPT: files.File(program("certificate_check.py"), mode="755"),
            _SERVICE: files.File(render("expiry", _SERVICE, days=days)),
            _TIMER: files.File(render("expiry", _TIMER)),
        },
    )
    units.running(name="Look for them every hour", unit=f"{_UNIT}.timer")
    units.retried(name="Look again after an alarm", unit=f"{_UNIT}.service", patience=_PATIENCE)


@deploy("expiry")
def absent() -> None:
    """Remove the alarm, and what it said last: node-exporter would go on saying it."""
    units.stopped(name="Look for certificates no more", unit=f"{_UNIT}.timer")
    units.stopped(name="Stop a look", unit=f"{_UNIT}.service")
    entries = dict.fromkeys([_SERVICE, _TIMER, _METRICS], None)
    files.present(name="Remove the alarm", entries=entries)
