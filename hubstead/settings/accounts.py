"""Settings of people's accounts, whichever way they log in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.model import Others, Settings

#: As services/userdb (hubstead_userdb.names) and people's files have it
NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


def user_name(value: str) -> str:
    """The name of a person here. Raises ValueError for one that cannot be."""
    if not NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a user name: lower-case letters, digits and . _ @ - (64 at most)"
        )
    return value


def _group(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError(f"{value!r} is not a group's name")
    return value


Names = list[Annotated[str, AfterValidator(user_name)]]
Groups = list[Annotated[str, AfterValidator(_group)]]


class AccountsSettings(Settings):
    """Who may log in by a provider, and who may not by any; changes need no restart."""

    prefixes = ("hub_",)

    hub_allow_everyone: bool = Field(
        False, description="Whoever the provider knows may log in; of GitHub that is everybody."
    )
    hub_allowed_users: Names = Field(
        [],
        description="Who may log in. Who is taken out loses login, tokens and server within a "
        "minute; the files stay. With `users-table` that is the table's to say.",
    )
    hub_blocked_users: Names = Field(
        [], description="Who may not, whatever else holds, in every way to log in."
    )
    hub_admins: Names = Field(
        [], description="Who may log in, and is an admin of the Hub; with `users-table` also."
    )
    hub_allowed_groups: Groups = Field(
        [], description="Groups of the provider's whose members may log in."
    )
    hub_admin_groups: Groups = Field([], description="The same, as admins.")
    hub_username_map: dict[str, Annotated[str, AfterValidator(user_name)]] = Field(
        {},
        description="What the provider calls somebody, such as an address of mail, to the name "
        'here: {"ada@example.org": "ada"}. Nobody else has that name then.',
    )

    @field_validator("hub_username_map")
    @classmethod
    def _one_step(cls, value: dict[str, str]) -> dict[str, str]:
        lower = {name.strip().lower(): own for name, own in value.items()}
        if len(lower) < len(value):
            raise ValueError("one of the provider's names is there twice: capitals do not count")
        twice = sorted(own for own in lower.values() if list(lower.values()).count(own) > 1)
        if twice:
            raise ValueError(f"two people would have one name and its files: {twice[0]!r}")
        both = sorted(name for name, own in lower.items() if own in lower and own != name)
        if both:
            raise ValueError(
                f"{both[0]!r} is to be {lower[both[0]]!r}, which is to be another name itself"
            )
        return lower

    def check(self) -> None:
        both = sorted({*self.hub_allowed_users, *self.hub_admins} & {*self.hub_blocked_users})
        if both:
            raise ValueError(f"`hub_blocked_users` has {both[0]!r}, who is also to be let in")

    def check_beside(self, others: Others) -> None:
        # which has no settings of its own
        check_provider(others, "pam", {})

    @property
    def lets_somebody_in(self) -> bool:
        """Whether there is a rule by which a provider's people may log in."""
        return bool(
            self.hub_allow_everyone
            or self.hub_allowed_users
            or self.hub_admins
            or self.hub_allowed_groups
            or self.hub_admin_groups
        )


#: What lets people in, for errors
RULES = "`hub_allowed_users`, `hub_admins`, `hub_allowed_groups` or `hub_allow_everyone`"


def check_provider(
    others: Others,
    name: str,
    needed: Mapping[str, object],
    own_rule: str = "",
    lets_in: bool = False,
) -> None:
    """Refuse a way to log in that is chosen and not settled. Raises ValueError.

    + name: the value of `hub_authenticator`.
    + needed: key to value of what must be set.
    + own_rule: a key of the provider's own that lets people in, and `lets_in` whether it does.
    """
    if others[HubSettings].hub_authenticator != name:
        return
    missing = [f"`{key}`" for key, value in needed.items() if not value]
    if missing:
        raise ValueError(f"`hub_authenticator` = {name!r} needs {' and '.join(missing)}")
    if not lets_in and not others[AccountsSettings].lets_somebody_in:
        rules = f"`{own_rule}`, {RULES}" if own_rule else RULES
        raise ValueError(f"`hub_authenticator` = {name!r} lets nobody in: say who may by {rules}")
