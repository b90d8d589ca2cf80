"""A made-up authenticator, as somebody would add one: whoever signs the guest book gets in."""

from __future__ import annotations

from pydantic import Field

from hubstead import hub
from hubstead.parts import Authenticator
from hubstead.settings.model import Settings
from hubstead.site import Site


class GuestBookSettings(Settings):
    """The guest book."""

    prefixes = ("guest_book_",)

    guest_book_pages: int = Field(100, ge=1, description="How many pages it has.")


def _configuration(site: Site) -> hub.Configuration:
    return hub.Configuration(
        traits={
            "GuestBook": {"pages": site[GuestBookSettings].guest_book_pages},
        }
    )


PART = Authenticator(authenticator_class="guest-book", configuration=_configuration)
