"""The users that a deployment's settings declare, and bringing the table to them."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from hubstead_userdb import table
from hubstead_userdb.errors import RefusedError
from hubstead_userdb.initial import InitialPasswords
from hubstead_userdb.names import username_problem

#: A generated password and its hash.
FirstPassword = tuple[str, str]


@dataclass(frozen=True)
class Declared:
    """One user of the settings."""

    username: str
    admin: bool = False
    enabled: bool = True


@dataclass(frozen=True)
class Change:
    """One step towards the declaration: what a person reads, and what does it.

    ``created`` is the user whose initial password is to be settled after the commit.
    """

    text: str
    apply: Callable[[psycopg.Connection], None]
    created: str | None = None


def parse(text: str) -> list[Declared]:
    """Read ``[{"username": "ada", "admin": true, "enabled": true}, ...]``.

    :raises RefusedError: if it is anything else, names a user twice, or leaves no enabled admin.
    """
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise RefusedError(f"the declaration is not JSON: {error}") from None
    if not isinstance(entries, list):
        raise RefusedError("the declaration is not a JSON list")
    declared = [_parse_entry(entry) for entry in entries]
    names = Counter(user.username for user in declared)
    twice = sorted(name for name, number in names.items() if number > 1)
    if twice:
        raise RefusedError(f"declared twice: {', '.join(twice)}")
    if not any(user.admin and user.enabled for user in declared):
        raise RefusedError("the declaration has no enabled admin")
    return declared


def _parse_entry(entry: Any) -> Declared:
    if not isinstance(entry, dict) or not isinstance(entry.get("username"), str):
        raise RefusedError('every declared user is an object with a "username"')
    name = entry["username"]
    problem = username_problem(name)
    if problem:
        raise RefusedError(problem)
    unknown = sorted(set(entry) - {"username", "admin", "enabled"})
    if unknown:
        raise RefusedError(f"declared user {name!r} has an unknown key {unknown[0]!r}")
    flags = {key: entry[key] for key in ("admin", "enabled") if key in entry}
    if not all(isinstance(value, bool) for value in flags.values()):
        raise RefusedError(f"declared user {name!r}: admin and enabled are true or false")
    return Declared(name, **flags)


def plan(
    declared: list[Declared],
    existing: list[table.User],
    first: Callable[[], FirstPassword],
    initial: InitialPasswords,
) -> list[Change]:
    """The changes that bring the existing rows to the declaration; empty when they are there.

    :param first: a new one at each call, which comes when the change is applied.
    """
    rows = {user.username: user for user in existing}
    wanted = {user.username for user in declared}
    changes: list[Change] = []
    for user in declared:
        row = rows.get(user.username)
        if row is None:
            changes.append(_create(user, first, initial))
        else:
            changes += _adjust(user, row)
    for row in existing:
        if row.declared and row.username not in wanted:
            changes += _withdraw(row)
    return changes


def _create(
    user: Declared, first: Callable[[], FirstPassword], initial: InitialPasswords
) -> Change:
    def create(connection: psycopg.Connection) -> None:
        password, password_hash = first()
        row = table.NewUser(
            user.username,
            password_hash,
            admin=user.admin,
            enabled=user.enabled,
            must_change_password=True,
            declared=True,
        )
        table.add(connection, row)
        initial.propose(user.username, password)

    return Change(f"create {user.username}", create, created=user.username)


def _adjust(user: Declared, row: table.User) -> list[Change]:
    name = user.username
    changes = []
    if not row.declared:
        changes.append(
            Change(f"declare {name}", lambda connection: table.set_declared(connection, name, True))
        )
    if row.admin != user.admin:
        changes.append(
            Change(
                f"make admin {name}" if user.admin else f"revoke admin {name}",
                lambda connection: table.set_admin(connection, name, user.admin),
            )
        )
    if row.enabled != user.enabled:
        changes.append(
            Change(
                f"enable {name}" if user.enabled else f"disable {name}",
                lambda connection: table.set_enabled(connection, name, user.enabled),
            )
        )
    return changes


def _withdraw(row: table.User) -> list[Change]:
    name = row.username

    def withdraw(connection: psycopg.Connection) -> None:
        table.set_enabled(connection, name, False)
        table.set_declared(connection, name, False)

    return [Change(f"disable {name}" if row.enabled else f"undeclare {name}", withdraw)]
