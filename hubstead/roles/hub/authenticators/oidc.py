"""Login by any provider of OpenID Connect: Keycloak, Entra ID, Authentik, Dex, a university's."""

from __future__ import annotations

from pydantic import Field, field_validator

from hubstead import hub, oauth, rules
from hubstead.operations import checks, openid
from hubstead.parts import Authenticator
from hubstead.settings.accounts import check_provider
from hubstead.settings.base import BaseSettings
from hubstead.settings.model import Others, Settings
from hubstead.site import Site
from hubstead.texts import is_url


class OidcSettings(Settings):
    """Login by OpenID Connect; the secret is `hub_oidc_client_secret`."""

    prefixes = ("hub_oidc_",)

    hub_oidc_issuer: str | None = Field(
        None,
        description="The provider: the address before /.well-known/openid-configuration, such as "
        "https://login.example.org/realms/lab. What it says there is asked for in each run.",
    )
    hub_oidc_client_id: str | None = Field(
        None, description="What the provider calls this service; it gives a secret with it."
    )
    hub_oidc_name: str = Field(
        "your organisation's account", description="What the button says after: Sign in with."
    )
    hub_oidc_username_claim: str = Field(
        "preferred_username",
        min_length=1,
        description="What is somebody's name here. `email` counts if the provider has verified it.",
    )
    hub_oidc_groups_claim: str = Field(
        "groups",
        min_length=1,
        description="What lists somebody's groups, for `hub_allowed_groups`.",
    )
    hub_oidc_scopes: list[str] | None = Field(
        None,
        description="What the provider is asked for; by default openid, profile and email, and "
        "offline_access where it has that, without which many can be asked about somebody for as "
        "long as a token lasts (docs/accounts.md).",
    )

    @field_validator("hub_oidc_issuer")
    @classmethod
    def _https(cls, value: str | None) -> str | None:
        if value is not None and not is_url(value, "https"):
            raise ValueError("not an address such as https://login.example.org/realms/lab")
        return value

    @field_validator("hub_oidc_scopes")
    @classmethod
    def _openid(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and "openid" not in value:
            raise ValueError('"openid" is what makes it OpenID Connect: add it')
        return value

    def check_beside(self, others: Others) -> None:
        needed = {
            "hub_oidc_issuer": self.hub_oidc_issuer,
            "hub_oidc_client_id": self.hub_oidc_client_id,
        }
        check_provider(others, "oidc", needed)


def _configuration(site: Site) -> hub.Configuration:
    settings = site[OidcSettings]
    assert settings.hub_oidc_issuer
    document = openid.document(settings.hub_oidc_issuer, site[BaseSettings].base_ca_certificates)
    return oauth.configuration(
        site,
        "oidc",
        "OpenIDConnect",
        settings.hub_oidc_client_id,
        {
            "issuer": settings.hub_oidc_issuer,
            "authorize_url": document["authorization_endpoint"],
            "token_url": document["token_endpoint"],
            "userdata_url": document["userinfo_endpoint"],
            "end_session_url": document.get("end_session_endpoint") or "",
            "after_logout_url": oauth.home(site),
            "login_service": settings.hub_oidc_name,
            "username_claim": settings.hub_oidc_username_claim,
            "scope": settings.hub_oidc_scopes or _scopes(document),
            **_groups(site),
        },
    )


def _scopes(document: dict[str, str]) -> list[str]:
    lasting = document.get("lasting_scope")
    return ["openid", "profile", "email", *([lasting] if lasting else [])]


def _groups(site: Site) -> dict[str, object]:
    if not rules.asks_for_groups(site, "oidc"):
        return {}
    claim = site[OidcSettings].hub_oidc_groups_claim
    return {"manage_groups": True, "auth_state_groups_key": f"oauth_user.{claim}"}


PART = Authenticator(
    authenticator_class="hubstead_hub.oauth.OpenIDConnect",
    configuration=_configuration,
    credentials=lambda site: oauth.credentials(site, "oidc"),
    lock=oauth.LOCK,
    page=oauth.PAGE,
    deploy=lambda site: oauth.told(site, "oidc"),
    checks=lambda site: (
        oauth.check("the provider", openid.address(site[OidcSettings].hub_oidc_issuer or "")),
    ),
    grounds=lambda site: (checks.found(site[OidcSettings].hub_oidc_issuer or ""),),
)
