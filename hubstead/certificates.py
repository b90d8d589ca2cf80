"""Certificates on the hosts: where they lie, which names they have, and who may read them.

Each host has an authority of its own, whose key never leaves it. What the hosts of an inventory say
to each other is verified with it, and with `tls` = internal it vouches for the service as well.
"""

from __future__ import annotations

from hubstead.listeners import CHALLENGE_PORT, LOOPBACK, listeners
from hubstead.operations import files
from hubstead.settings.tls import TlsSettings
from hubstead.site import Member, Site

#: Reads the keys: the users of what serves TLS are in it
GROUP = "hubstead-tls"
#: The certificate from the host's own authority, and the one from elsewhere: each directory has
#: fullchain.pem, key.pem and hooks/, scripts that run when the certificate was renewed
INTERNAL, PUBLIC = "/etc/hubstead/tls", "/etc/hubstead/certificate"
#: Roots of the other hosts' authorities
TRUST = "/etc/hubstead/trust"
#: What certbot needs to answer in the DNS
DNS_CREDENTIALS = "/etc/letsencrypt/hubstead-dns.ini"
#: Where fronts of earlier versions found the answers to an ACME server's challenges
WEBROOT = "/var/lib/hubstead/acme"
#: TLS 1.2 in Mozilla's intermediate profile, without the ciphers that need Diffie-Hellman
#: parameters: https://wiki.mozilla.org/Security/Server_Side_TLS
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)


def public_directory(site: Site) -> str:
    """Where the certificate that people see lies on the front."""
    return INTERNAL if site[TlsSettings].tls == "internal" else PUBLIC


def internal_names(site: Site) -> list[str]:
    """The names in the internal certificate of the host at hand, the main one first."""
    names = [name for listener in listeners(site) for name in listener.names]
    return list(dict.fromkeys(names)) or [site.hub.address]


def permitted(site: Site) -> list[str]:
    """Names for which the authority of the host at hand may vouch, and for what lies below them.

    Those of its certificate, and others that another choice of front, or another host of the
    inventory, adds to it: people need no new root for that.
    """
    names = [name for name in internal_names(site) if not name.startswith("*.")]
    if site.plays("hub"):
        names.append("localhost")
    here = site.here.address
    # a connector of pyinfra's is no name
    return list(dict.fromkeys([*names, *([] if here.startswith("@") else [here])]))


def root_of(site: Site, of: Member) -> str:
    """Where the host at hand has the root certificate of a host's authority."""
    return f"{INTERNAL}/ca.pem" if of == site.here else f"{TRUST}/{root_file(of)}"


def root_file(of: Member) -> str:
    """What that is called among those of other hosts."""
    return f"{of.name.rpartition('/')[2]}.pem"


def no_hooks(of: str) -> dict[str, files.Entry]:
    """The removal of what `of` does when a certificate was renewed."""
    return {f"{directory}/hooks/{of}": None for directory in (INTERNAL, PUBLIC)}


def challenges(site: Site) -> str | None:
    """What the front passes an ACME server's challenges on to; None where there will be none."""
    asked = site[TlsSettings].answers_over_http
    return f"http://{LOOPBACK}:{CHALLENGE_PORT}" if asked else None
