"""certbot: the distribution's ACME client, behind every front.

The front passes the challenges on to certbot, which answers them on loopback while it asks
(standalone), or certbot answers in the DNS. Its timer renews; a hook of ours puts each new
certificate where the front reads it, and has it read again.
"""

from __future__ import annotations

import shlex

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host
from pyinfra.operations import server

from hubstead import dns
from hubstead.certificates import DNS_CREDENTIALS, WEBROOT
from hubstead.listeners import CHALLENGE_PORT
from hubstead.notes import ROLES, claim
from hubstead.operations import acme, files, packages, units
from hubstead.programs import program
from hubstead.render import render
from hubstead.secrets import WORD
from hubstead.settings.tls import TlsSettings
from hubstead.site import Site

SCRIPT = "/usr/local/lib/hubstead/certbot-certificate"
_DIRECTORY = "/etc/letsencrypt"
_HOOK = f"{_DIRECTORY}/renewal-hooks/deploy/hubstead"
#: Route 53's plugin asks AWS's own library, which looks there
_DROP_IN = "/etc/systemd/system/certbot.service.d/hubstead.conf"


def _refuse_open_port() -> None:
    """Raises PyinfraError where every account could answer in certbot's place."""
    if host.get_fact(acme.FirstUnprivilegedPort) <= CHALLENGE_PORT:
        raise PyinfraError(
            f"{host.name} lets every account listen on port {CHALLENGE_PORT}, and get "
            "certificates for the service's names there. Set the sysctl "
            f"net.ipv4.ip_unprivileged_port_start above {CHALLENGE_PORT}: 1024 is the default."
        )


def _credentials(site: Site, service: str) -> str:
    keys = dns.PLUGINS[service].secrets
    secrets = {key: site.secrets.brought(dns.secret_name(service, key), WORD) for key in keys}
    return dns.credentials(service, site[TlsSettings].tls_acme_dns_options, secrets)


def _dns_files(site: Site) -> dict[str, files.Entry]:
    """What certbot finds by itself when its timer renews the certificate; nothing over HTTP."""
    service = site[TlsSettings].tls_acme_dns
    return {
        DNS_CREDENTIALS: files.secret(_credentials(site, service)) if service else None,
        _DROP_IN: files.File(render("certbot", _DROP_IN, credentials=DNS_CREDENTIALS))
        if service == dns.ROUTE53
        else None,
    }


@deploy("certbot")
def certbot(site: Site) -> None:
    """Once the front runs, and the internet reaches it; or at any time, where the DNS answers."""
    service, wanted = site[TlsSettings].tls_acme_dns, site.distribution.certbot.packages
    if service:
        wanted = (*wanted, site.distribution.certbot_plugin.format(service=service))
    else:
        _refuse_open_port()

    claim(site, "certbot")
    packages.installed(name="Install certbot", packages=wanted, owner="certbot")
    files.present(
        name="Write what installs its certificates",
        entries={
            f"{_DIRECTORY}/renewal-hooks/deploy": files.Directory(),
            _HOOK: files.File(program("certbot-deploy-hook.sh"), mode="755"),
            SCRIPT: files.File(program("certbot_certificate.py"), mode="755"),
            **_dns_files(site),
        },
    )
    acme.obtained(name="Get the certificate", script=SCRIPT)
    units.running(name="Renew it in time", unit=site.distribution.certbot.unit)


# The purge of the package takes /etc/letsencrypt along, with whatever it has.
_REMOVE = f"""
set -eu
cd /etc/letsencrypt 2>/dev/null || exit 0
conf=renewal/hubstead.conf
if ! grep -qs '^cert = ' $conf ||
    grep -qE '^http01_port = {CHALLENGE_PORT}$|{WEBROOT}|{DNS_CREDENTIALS}|dns-route53$' $conf; then
    # what it cannot read, and what a cut left, it does not delete
    certbot delete --quiet --non-interactive --cert-name hubstead 2>/dev/null || true
    rm -rf live/hubstead archive/hubstead $conf
fi
if ls renewal/*.conf >/dev/null 2>&1; then
    # certificates of somebody else, who needs certbot from now on
    rm -f /var/lib/hubstead/packages/certbot
fi
"""
_TRACES = """
ls /etc/letsencrypt/renewal/*.conf >/dev/null 2>&1 ||
    rm -rf /etc/letsencrypt /var/lib/letsencrypt /var/lib/systemd/timers/stamp-certbot.timer
systemctl reset-failed certbot.service 2>/dev/null || true
"""


@deploy("certbot")
def absent() -> None:
    """Remove it, unless somebody else has certificates from it."""
    server.shell(name="Delete the certificate", commands=[f"sh -c {shlex.quote(_REMOVE)}"])
    files.present(
        name="Remove what installed its certificates",
        entries={_HOOK: None, SCRIPT: None, DNS_CREDENTIALS: None, _DROP_IN: None},
    )
    packages.purged(name="Remove certbot", owner="certbot")
    server.shell(
        name="Remove what the package leaves behind",
        commands=[f"[ -e /usr/bin/certbot ] || sh -c {shlex.quote(_TRACES)}"],
    )
    files.present(name="Note down that it is gone", entries={f"{ROLES}/certbot": None})
