"""Login by GitHub, or a GitHub Enterprise Server of one's own."""

from __future__ import annotations

from pydantic import Field, field_validator

from hubstead import hub, oauth
from hubstead.operations import checks
from hubstead.parts import Authenticator
from hubstead.settings.accounts import check_provider
from hubstead.settings.model import Others, Settings
from hubstead.site import Site
from hubstead.texts import is_url


class GithubSettings(Settings):
    """Login by GitHub; the secret is `hub_github_client_secret`."""

    prefixes = ("hub_github_",)

    hub_github_client_id: str | None = Field(
        None, description="Of the OAuth app that you registered at GitHub."
    )
    hub_github_organizations: list[str] = Field(
        [],
        description="Whose members may log in: organisations, or teams as ORGANISATION:TEAM, by "
        "their names in addresses.",
    )
    hub_github_url: str = Field(
        "https://github.com", description="Another one for a GitHub Enterprise Server."
    )

    @field_validator("hub_github_url")
    @classmethod
    def _https(cls, value: str) -> str:
        if not is_url(value, "https"):
            raise ValueError("not an address such as https://github.example.org")
        return value.rstrip("/")

    def check_beside(self, others: Others) -> None:
        check_provider(
            others,
            "github",
            {"hub_github_client_id": self.hub_github_client_id},
            "hub_github_organizations",
            bool(self.hub_github_organizations),
        )


def _configuration(site: Site) -> hub.Configuration:
    settings = site[GithubSettings]
    organizations = settings.hub_github_organizations
    return oauth.configuration(
        site,
        "github",
        "GitHub",
        settings.hub_github_client_id,
        {
            "github_url": settings.hub_github_url,
            "allowed_organizations": organizations,
            # without it GitHub tells of public members alone
            "scope": ["read:org"] if organizations else [],
        },
    )


PART = Authenticator(
    authenticator_class="hubstead_hub.oauth.GitHub",
    configuration=_configuration,
    credentials=lambda site: oauth.credentials(site, "github"),
    lock=oauth.LOCK,
    page=oauth.PAGE,
    deploy=lambda site: oauth.told(site, "github"),
    checks=lambda site: (oauth.check("GitHub", site[GithubSettings].hub_github_url),),
    grounds=lambda site: (checks.found(site[GithubSettings].hub_github_url),),
)
