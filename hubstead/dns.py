"""DNS: the services by whose API certbot answers an ACME server's challenges (RFC 8555, 8.4).

Each is a plugin that Debian 12 and 13 have; the keys are those of its credentials file
(https://eff-certbot.readthedocs.io/en/stable/using.html#dns-plugins).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Plugin:
    """What a service needs to be told.

    + secrets: keys that the secrets module has; the others come from the settings.
    + required, optional: keys of the settings.
    + wait: seconds until its name servers have a new record, as certbot has them.
    """

    secrets: tuple[str, ...]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    wait: int = 10


Service = Literal["cloudflare", "digitalocean", "linode", "ovh", "rfc2136", "route53"]
ROUTE53: Service = "route53"
PLUGINS: dict[str, Plugin] = {
    "cloudflare": Plugin(("api_token",)),
    "digitalocean": Plugin(("token",)),
    "linode": Plugin(("key",), wait=120),
    "ovh": Plugin(
        ("application_key", "application_secret", "consumer_key"), ("endpoint",), wait=120
    ),
    "rfc2136": Plugin(("secret",), ("server", "name"), ("port", "algorithm"), wait=60),
    ROUTE53: Plugin(("access_key_id", "secret_access_key")),
}


def secret_name(service: str, key: str) -> str:
    """What the secrets module calls a key of a service."""
    return f"dns_{service}_{key}"


def credentials(service: str, options: dict[str, str], secrets: dict[str, str]) -> str:
    """The text of the credentials file; Route 53's is of AWS's own kind (boto3, "Credentials")."""
    if service == ROUTE53:
        lines = ["[default]", *(f"aws_{key} = {value}" for key, value in secrets.items())]
    else:
        known = {**options, **secrets}
        lines = [f"dns_{service}_{key} = {value}" for key, value in sorted(known.items())]
    return "# Written by Hubstead (tls_acme_dns).\n" + "".join(f"{line}\n" for line in lines)
