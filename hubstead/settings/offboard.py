"""Settings of deploys/offboard.py, for a person who leaves for good."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from hubstead.settings.accounts import AccountsSettings, named_in, user_name
from hubstead.settings.groups import GroupsSettings
from hubstead.settings.jupyterhub import HubSettings, own_directory
from hubstead.settings.model import Others, Settings


class OffboardSettings(Settings):
    """A person who leaves for good (users.md)."""

    prefixes = ("offboard_",)

    offboard_user: Annotated[str, AfterValidator(user_name)] | None = Field(
        None, description="Whose account and files deploys/offboard.py removes; its word."
    )
    offboard_archives: str = Field(
        "/srv/hubstead/offboarded",
        description="Where it archives the files before, which root alone reads there.",
    )

    @field_validator("offboard_archives")
    @classmethod
    def _own_directory(cls, value: str) -> str:
        return own_directory(value)

    def check_beside(self, others: Others) -> None:
        archives = f"{self.offboard_archives}/"
        for key, path in (
            ("hub_files", others[HubSettings].hub_files),
            ("hub_group_files", others[GroupsSettings].hub_group_files),
        ):
            if archives.startswith(f"{path}/") or f"{path}/".startswith(archives):
                raise ValueError(
                    f"`offboard_archives` = {self.offboard_archives!r} and `{key}` = {path!r}: one "
                    "is within the other"
                )

    def named_by(self, accounts: AccountsSettings, groups: GroupsSettings) -> list[str]:
        """Settings that still name who leaves."""
        name = self.offboard_user
        named = {
            "hub_allowed_users": name in named_in(accounts.hub_allowed_users),
            "hub_admins": name in named_in(accounts.hub_admins),
            "hub_username_map": name in accounts.hub_username_map.values(),
            **{
                f"hub_groups['{group}']": name in (*each.members, *each.teachers)
                for group, each in groups.hub_groups.items()
            },
        }
        return [key for key, is_named in named.items() if is_named]
