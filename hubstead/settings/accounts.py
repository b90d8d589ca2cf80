"""Settings of people's accounts, whichever way they log in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.model import AUTHENTICATORS, Others, Settings

#: As services/userdb (hubstead_userdb.names) and people's files have it
NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


def user_name(value: str) -> str:
    """The name of a person here. Raises ValueError for one that cannot be."""
    if not NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a user name: lower-case letters, digits and . _ @ - (64 at most)"
        )
    return value


def _named(value: str) -> str:
    """The name of a person, after that of a way to log in where there are several."""
    way, _, name = value.rpartition(":")
    user_name(name if way in AUTHENTICATORS.names else value)
    return value


def named_in(entries: Iterable[str]) -> list[str]:
    """People, as the Hub calls them, of entries that may begin with a way to log in."""
    return [entry.rpartition(":")[2] for entry in entries]


def _group(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError(f"{value!r} is not a group's name")
    return value


Names = list[Annotated[str, AfterValidator(user_name)]]
#: With several ways to log in each begins with one and a colon
OwnNames = list[Annotated[str, AfterValidator(_named)]]
Groups = list[Annotated[str, AfterValidator(_group)]]


class AccountsSettings(Settings):
    """Who may log in by a provider, and who may not by any; changes need no restart."""

    prefixes = ("hub_",)

    hub_allow_everyone: bool | list[Annotated[str, AUTHENTICATORS]] = Field(
        False,
        description="Whoever the provider knows may log in; of GitHub that is everybody. With "
        '`hub_authenticators`: a list of those that this is for, such as ["oidc"].',
    )
    hub_allowed_users: OwnNames = Field(
        [],
        description="Who may log in. Who is taken out loses login, tokens and server within a "
        "minute; the files stay. With `users-table` that is the table's to say. With "
        "`hub_authenticators` these, admins, groups and the names that are mapped each begin with "
        'the way that they are of: "oidc:ada".',
    )
    hub_blocked_users: Names = Field(
        [], description="Who may not, whatever else holds, in every way to log in."
    )
    hub_admins: OwnNames = Field(
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

    @field_validator("hub_allow_everyone", mode="wrap")
    @classmethod
    def _yes_or_whose(cls, value: object, check: ValidatorFunctionWrapHandler) -> object:
        try:
            return check(value)
        except ValidationError:
            # pydantic has an error for each of the two, of which one would do
            raise ValueError(
                "neither True nor False nor, with several `hub_authenticators`, a list of those "
                "whose people may all"
            ) from None

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
        both = sorted({*self.let_in} & {*self.hub_blocked_users})
        if both:
            raise ValueError(f"`hub_blocked_users` has {both[0]!r}, who is also to be let in")

    def check_beside(self, others: Others) -> None:
        hub = others[HubSettings]
        everyone = self.hub_allow_everyone
        if hub.several_ways:
            if everyone is True:
                raise ValueError(
                    f"`hub_allow_everyone` = True with {list(hub.ways)!r}: say whose people that "
                    f"is for, such as [{_ruled(hub)[0]!r}]"
                )
            for key, entries in self._rules.items():
                for entry in entries:
                    _check_entry(hub, key, entry)
        elif isinstance(everyone, list) and everyone:
            raise ValueError(
                f"`hub_allow_everyone` = {everyone!r} is for several `hub_authenticators`: with "
                "one it is True or False"
            )
        else:
            for entry in (*self.hub_allowed_users, *self.hub_admins):
                if ":" in entry:
                    raise ValueError(
                        f"{entry!r} names a way to log in, which is for several "
                        f"`hub_authenticators`: with one it is {entry.rpartition(':')[2]!r}"
                    )
        # which has no settings of its own
        check_provider(others, "pam", {})

    @property
    def let_in(self) -> list[str]:
        """Whom rules let in by name, as the Hub calls them."""
        return named_in([*self.hub_allowed_users, *self.hub_admins])

    @property
    def everyone_of(self) -> list[str]:
        """Of several ways to log in, those whose people may all."""
        everyone = self.hub_allow_everyone
        return everyone if isinstance(everyone, list) else []

    @property
    def _rules(self) -> dict[str, Iterable[str]]:
        """What is said of a provider's people and groups, by key."""
        return {
            "hub_allow_everyone": [f"{way}:" for way in self.everyone_of],
            "hub_allowed_users": self.hub_allowed_users,
            "hub_admins": self.hub_admins,
            "hub_allowed_groups": self.hub_allowed_groups,
            "hub_admin_groups": self.hub_admin_groups,
            "hub_username_map": self.hub_username_map,
        }

    def lets_somebody_in(self, hub: HubSettings, way: str) -> bool:
        """Whether there is a rule by which people of a way may log in."""
        rules = {key: of for key, of in self._rules.items() if key != "hub_username_map"}
        return self.hub_allow_everyone is True or any(
            hub.entries_of(way, entries) for entries in rules.values()
        )

    def groups_of(self, hub: HubSettings, way: str) -> list[str]:
        """Groups that let people of a way in, as it calls them."""
        return hub.entries_of(way, (*self.hub_allowed_groups, *self.hub_admin_groups))


def _ruled(hub: HubSettings) -> list[str]:
    """The ways to log in of which rules say who may."""
    return [way for way in hub.ways if way != "users-table"]


def _check_entry(hub: HubSettings, key: str, entry: str) -> None:
    """Raises ValueError for an entry that does not say whose, of several ways to log in."""
    way, mark, rest = entry.partition(":")
    if not mark or way not in hub.ways:
        raise ValueError(
            f"`{key}`: {entry.removesuffix(':')!r} is of none of `hub_authenticators` = "
            f"{hub.hub_authenticators!r}: with several an entry says whose it is, such as "
            f"'{_ruled(hub)[0]}:{rest or entry}'"
        )
    if way == "users-table" and key != "hub_admins":
        raise ValueError(
            f"`{key}`: {entry.removesuffix(':')!r} is of the users table, which says itself who "
            "is in it: `hub_users` and `hub-users`"
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

    + name: of the way.
    + needed: key to value of what must be set.
    + own_rule: a key of the provider's own that lets people in, and `lets_in` whether it does.
    """
    hub = others[HubSettings]
    if name not in hub.ways:
        return
    missing = [f"`{key}`" for key, value in needed.items() if not value]
    if missing:
        raise ValueError(f"{hub.choice(name)} needs {' and '.join(missing)}")
    if not lets_in and not others[AccountsSettings].lets_somebody_in(hub, name):
        rules = f"`{own_rule}`, {RULES}" if own_rule else RULES
        whose = f", of entries that begin with '{name}:'" if hub.several_ways else ""
        raise ValueError(f"{hub.choice(name)} lets nobody in: say who may by {rules}{whose}")
