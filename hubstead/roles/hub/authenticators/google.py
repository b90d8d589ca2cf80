"""Login by Google."""

from __future__ import annotations

from pydantic import Field, field_validator

from hubstead import hub, oauth
from hubstead.operations import checks
from hubstead.parts import Authenticator
from hubstead.settings.accounts import check_provider
from hubstead.settings.model import Others, Settings
from hubstead.site import Site
from hubstead.texts import is_host_name


class GoogleSettings(Settings):
    """Login by Google; the secret is `hub_google_client_secret`."""

    prefixes = ("hub_google_",)

    hub_google_client_id: str | None = Field(
        None, description="Of the OAuth client that you made in Google's console."
    )
    hub_google_domain: str | None = Field(
        None,
        description="A Google Workspace, such as example.org: everybody of it may log in, by the "
        "part of the address before the @, and nobody else. Without it people are called by their "
        "whole addresses.",
    )

    @field_validator("hub_google_domain")
    @classmethod
    def _domain(cls, value: str | None) -> str | None:
        if value is not None and not is_host_name(value):
            raise ValueError("not a domain such as example.org")
        return value

    def check_beside(self, others: Others) -> None:
        check_provider(
            others,
            "google",
            {"hub_google_client_id": self.hub_google_client_id},
            "hub_google_domain",
            bool(self.hub_google_domain),
        )


def _configuration(site: Site) -> hub.Configuration:
    settings = site[GoogleSettings]
    domain = settings.hub_google_domain
    return oauth.configuration(
        site,
        "google",
        "Google",
        settings.hub_google_client_id,
        {"hosted_domain": [domain], "whole_domain": True} if domain else {},
    )


PART = Authenticator(
    authenticator_class="hubstead_hub.oauth.Google",
    configuration=_configuration,
    credentials=lambda site: oauth.credentials(site, "google"),
    lock=oauth.LOCK,
    page=oauth.PAGE,
    deploy=lambda site: oauth.told(site, "google"),
    checks=lambda site: (oauth.check("Google", "https://www.googleapis.com"),),
    grounds=lambda site: (checks.found("https://www.googleapis.com"),),
)
