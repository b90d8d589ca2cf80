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
    site: Site, way: str, name: str, client_id: str | None, traits: Mapping[str, Any]
) -> hub.Configuration:
    """What a class of hubstead_hub.oauth needs, and what is its own.

    + way: what the settings call it.
    + name: of the class.
    """
    return hub.Configuration(
        traits={
            # what the provider is asked with again is kept in the database, encrypted
            "CryptKeeper": {"keys": [hub.credential("crypt-key")]},
            name: {
                "client_id": client_id,
                "client_secret": hub.credential(_client_secret(site, way)),
                "oauth_callback_url": callback(site, way),
                **traits,
            },
        }
    )


def _client_secret(site: Site, way: str) -> str:
    """The name of the credential, of which several providers have one each."""
    return f"{way}-client-secret" if site[HubSettings].several_ways else "client-secret"


def credentials(site: Site, way: str) -> dict[str, str]:
    """Of the Hub's unit: what the provider gave, and what the Hub keeps its tokens by."""
    return {
        _client_secret(site, way): site.secrets.brought(f"hub_{way}_client_secret"),
        "crypt-key": site.secrets.generated("hub_crypt_key", secrets.HEX),
    }


def home(site: Site) -> str:
    """The service's address, to which a provider leads people after a logout."""
    return f"{site.url}{site[HubSettings].hub_base_url}"


def callback(site: Site, way: str) -> str:
    """Where a provider leads people to after a login.

    Each of several has its own, by which the Hub knows whose answer comes (RFC 9700, 4.4.2).
    """
    own = f"{way}/" if site[HubSettings].several_ways else ""
    return f"{home(site)}hub/{own}oauth_callback"


def told(site: Site, way: str) -> None:
    """Say at the end of a run what has to be registered at the provider."""
    whose = f"The provider of {way!r}" if site[HubSettings].several_ways else "The provider"
    summarise(f"{whose} has to know: {callback(site, way)}, and after a logout {home(site)}")


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
