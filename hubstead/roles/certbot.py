"""certbot: the distribution's ACME client, for a front that has none: Nginx, Apache, CHP.

The front answers the challenges from a directory (webroot); certbot's timer renews; a hook of ours
puts each new certificate where the front reads it, and has it read again.
"""

from __future__ import annotations

import shlex

from pyinfra.api.deploy import deploy
from pyinfra.operations import server

from hubstead.operations import acme, files, packages, units
from hubstead.render import render
from hubstead.roles import tls
from hubstead.roles.base import ROLES, claim

SCRIPT = "/usr/local/lib/hubstead/certbot-certificate"
_DIRECTORY = "/etc/letsencrypt"
_HOOK = f"{_DIRECTORY}/renewal-hooks/deploy/hubstead"


@deploy("certbot")
def certbot() -> None:
    """Once the front runs, and the internet reaches it."""
    claim("certbot")
    packages.installed(name="Install certbot", packages=["certbot"], owner="certbot")
    files.present(
        name="Write what installs its certificates",
        entries={
            tls.WEBROOT: files.Directory(),
            f"{_DIRECTORY}/renewal-hooks/deploy": files.Directory(),
            _HOOK: files.File(render("certbot", _HOOK), mode="755"),
            SCRIPT: files.File(render("certbot", SCRIPT), mode="755"),
        },
    )
    acme.obtained(name="Get the certificate", script=SCRIPT)
    units.running(name="Renew it in time", unit="certbot.timer")


# The purge of the package takes /etc/letsencrypt along, with whatever it has.
_REMOVE = """
set -eu
if grep -qs /var/lib/hubstead/acme /etc/letsencrypt/renewal/hubstead.conf; then
    certbot delete --quiet --non-interactive --cert-name hubstead
fi
if ls /etc/letsencrypt/renewal/*.conf >/dev/null 2>&1; then
    # certificates of somebody else, who needs certbot from now on
    rm -f /var/lib/hubstead/packages/certbot
fi
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
        commands=["[ -e /usr/bin/certbot ] || rm -rf /etc/letsencrypt /var/lib/letsencrypt"],
    )
    files.present(name="Note down that it is gone", entries={f"{ROLES}/certbot": None})
