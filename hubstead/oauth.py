"""Logins by a provider on the web (OAuth 2.0, RFC 6749): what its parts have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hubstead import hub, secrets
from hubstead.operations import checks
from hubstead.operations.checks import CURL
from hubstead.progress import summarise
from hubstead.settings.jupyterhub import HubSettings
from hubstead.site import Site

LOCK = "oauth"
#: A button, and no form
PAGE = (200, 'class="service-login"')


def configuration(
    site: Site, name: str, client_id: str | None, traits: Mapping[str, Any]
) -> hub.Configuration:
    """What a class of hubstead_hub.oauth needs, and what is its own."""
    return hub.Configuration(
        traits={
            "JupyterHub": {"authenticator_class": f"hubstead_hub.oauth.{name}"},
            # what the provider is asked with again is kept in the database, encrypted
            "CryptKeeper": {"keys": [hub.credential("crypt-key")]},
            name: {
                "client_id": client_id,
                "client_secret": hub.credential("client-secret"),
                "oauth_callback_url": callback(site),
                **traits,
            },
        }
    )


def credentials(site: Site, secret: str) -> dict[str, str]:
    """Of the Hub's unit; `secret` is the name of the one that the provider gave."""
    return {
        "client-secret": site.secrets.brought(secret),
        "crypt-key": site.secrets.generated("hub_crypt_key", secrets.HEX),
    }


def home(site: Site) -> str:
    """The service's address, to which a provider leads people after a logout."""
    return f"{site.url}{site[HubSettings].hub_base_url}"


def callback(site: Site) -> str:
    """Where a provider leads people to after a login."""
    return f"{home(site)}hub/oauth_callback"


def told(site: Site) -> None:
    """Say at the end of a run what has to be registered at the provider."""
    summarise(f"The provider has to know: {callback(site)}, and after a logout {home(site)}")


def check(name: str, url: str) -> checks.Check:
    """That the host reaches the provider, whatever that says, and knows its certificate."""
    return checks.Check(
        name=f"Ask {name}",
        part=f"The login by {name}",
        script=f"{CURL} --output /dev/null {url}",
        mend=f"Does this host reach {url}, and does it trust its certificate "
        "(`base_ca_certificates`)?",
        of="accounts",
    )
