"""The users table: its package and command on the hub host, and the people in the settings."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pyinfra.api.deploy import deploy

from hubstead import database, hub, wheels
from hubstead.operations import files, users_table
from hubstead.progress import summarise
from hubstead.releases import release
from hubstead.settings.model import Settings
from hubstead.site import Site

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class Person(BaseModel):
    """A user who is declared in the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: str
    admin: bool = False
    enabled: bool = True

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"username": value} if isinstance(value, str) else value

    @field_validator("username")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not _USERNAME.fullmatch(value):
            raise ValueError(
                f"{value!r} is not a user name: lower-case letters, digits and . _ @ - (64 at most)"
            )
        return value


class UserdbSettings(Settings):
    """The people."""

    prefixes = ("hub_users", "userdb_")

    hub_users: list[Person] = Field(
        [Person(username="admin", admin=True)],
        description='People of the service: names, or {"username": "ada", "admin": True}. Each '
        "new one gets a one-time password, which `sudo hub-users initial-password` shows. Someone "
        "who leaves the list is disabled; people added by `hub-users add` are not touched.",
    )

    def check(self) -> None:
        names = Counter(person.username for person in self.hub_users)
        for name in sorted(name for name, number in names.items() if number > 1):
            raise ValueError(f"`hub_users` names {name!r} more than once")
        if not any(person.admin and person.enabled for person in self.hub_users):
            raise ValueError(
                "`hub_users` must declare an enabled admin, for example "
                '{"username": "ada", "admin": True}'
            )


@deploy("userdb")
def userdb(site: Site) -> None:
    settings = site[UserdbSettings]
    release(
        site, name="Build the release of hub-users", component="userdb", wheels=wheels.of("userdb")
    )
    files.present(
        name="Put hub-users on the path",
        entries={
            "/etc/hubstead/userdb": files.Directory(mode="700"),
            "/etc/hubstead/userdb/owner.dsn": files.secret(database.conninfo(site, "userdb_owner")),
            users_table.COMMAND: files.Link("/opt/hubstead/userdb/current/bin/hub-users"),
        },
    )
    users_table.migrated(
        name="Create the users table",
        known=hub.MARKS,
    )
    users_table.declared(
        name="Declare the people of the settings",
        people=[person.model_dump() for person in settings.hub_users],
    )
    admin = next(p.username for p in settings.hub_users if p.admin and p.enabled)
    summarise(
        f"First login: {admin}; its password, on {site.here.name}: "
        f"sudo hub-users initial-password {admin}"
    )


@deploy("userdb")
def absent() -> None:
    """Remove the command; the users table stays."""
    files.present(name="Remove hub-users", entries={users_table.COMMAND: None})
