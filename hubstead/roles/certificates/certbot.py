"""certbot: the distribution's ACME client, behind every front.

The front passes the challenges on to certbot, which answers them on loopback while it asks
(standalone); certbot's timer renews; a hook of ours puts each new certificate where the front reads
it, and has it read again.
"""

from __future__ import annotations

import shlex

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host
from pyinfra.operations import server

from hubstead.certificates import WEBROOT
from hubstead.listeners import CHALLENGE_PORT
from hubstead.notes import ROLES, claim
from hubstead.operations import acme, files, packages, units
from hubstead.programs import program
from hubstead.site import Site

SCRIPT = "/usr/local/lib/hubstead/certbot-certificate"
_DIRECTORY = "/etc/letsencrypt"
_HOOK = f"{_DIRECTORY}/renewal-hooks/deploy/hubstead"


@deploy("certbot")
def certbot(site: Site) -> None:
    """Once the front runs, and the internet reaches it."""
    if host.get_fact(acme.FirstUnprivilegedPort) <= CHALLENGE_PORT:
        raise PyinfraError(
            f"{host.name} lets every account listen on port {CHALLENGE_PORT}, and get "
            "certificates for the service's names there. Set the sysctl "
            f"net.ipv4.ip_unprivileged_port_start above {CHALLENGE_PORT}: 1024 is the default."
        )

    claim(site, "certbot")
    packages.installed(
        name="Install certbot", packages=site.distribution.certbot.packages, owner="certbot"
    )
    files.present(
        name="Write what installs its certificates",
        entries={
            f"{_DIRECTORY}/renewal-hooks/deploy": files.Directory(),
            _HOOK: files.File(program("certbot-deploy-hook.sh"), mode="755"),
            SCRIPT: files.File(program("certbot_certificate.py"), mode="755"),
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
    grep -qE '^http01_port = {CHALLENGE_PORT}$|{WEBROOT}' $conf; then
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
        entries={_HOOK: None, SCRIPT: None},
    )
    packages.purged(name="Remove certbot", owner="certbot")
    server.shell(
        name="Remove what the package leaves behind",
        commands=[f"[ -e /usr/bin/certbot ] || sh -c {shlex.quote(_TRACES)}"],
    )
    files.present(name="Note down that it is gone", entries={f"{ROLES}/certbot": None})
