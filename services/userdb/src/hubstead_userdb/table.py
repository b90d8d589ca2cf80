"""Rows of the users table: read and write, within the caller's transaction."""

from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from hubstead_userdb.errors import RefusedError


@dataclass(frozen=True)
class User:
    """One row. The hash stays out of ``repr``, and with it out of logs and tracebacks."""

    id: int
    username: str
    password_hash: str = field(repr=False)
    admin: bool
    enabled: bool
    must_change_password: bool
    declared: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class NewUser:
    """What a row is made from."""

    username: str
    password_hash: str = field(repr=False)
    admin: bool = False
    enabled: bool = True
    must_change_password: bool = False
    declared: bool = False


_COLUMNS = """
    id, username, password_hash, admin, enabled, must_change_password, declared,
    created_at, updated_at
"""


def find(connection: psycopg.Connection, username: str) -> User | None:
    """The user, or None."""
    with connection.cursor(row_factory=class_row(User)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM public.users WHERE username = %s", [username]
        ).fetchone()


def highest_cost(connection: psycopg.Connection) -> int:
    """The highest bcrypt cost of all hashes; 0 where there is none."""
    row = connection.execute(
        "SELECT coalesce(max(substr(password_hash, 5, 2)::integer), 0) FROM public.users"
    ).fetchone()
    return 0 if row is None else int(row[0])


def get(connection: psycopg.Connection, username: str) -> User:
    """The user.

    :raises RefusedError: if there is none.
    """
    user = find(connection, username)
    if user is None:
        raise RefusedError(f"there is no user {username!r}")
    return user


def everyone(connection: psycopg.Connection) -> list[User]:
    """All users, by name."""
    with connection.cursor(row_factory=class_row(User)) as cursor:
        return cursor.execute(f"SELECT {_COLUMNS} FROM public.users ORDER BY username").fetchall()


def add(connection: psycopg.Connection, user: NewUser) -> None:
    """Insert the row.

    :raises RefusedError: if the name is taken.
    """
    try:
        with connection.transaction():
            connection.execute(
                """
                INSERT INTO public.users
                    (username, password_hash, admin, enabled, must_change_password, declared)
                VALUES (%s, %s, %s, %s, %s, %s)
                """,
                [
                    user.username,
                    user.password_hash,
                    user.admin,
                    user.enabled,
                    user.must_change_password,
                    user.declared,
                ],
            )
    except psycopg.errors.UniqueViolation:
        raise RefusedError(f"user {user.username!r} exists already") from None


def set_password(
    connection: psycopg.Connection, username: str, password_hash: str, must_change: bool
) -> None:
    """Replace the hash, and say whether the user has to choose another at the next login."""
    connection.execute(
        "UPDATE public.users SET password_hash = %s, must_change_password = %s WHERE username = %s",
        [password_hash, must_change, username],
    )


def set_enabled(connection: psycopg.Connection, username: str, enabled: bool) -> None:
    """Let the user log in, or not."""
    connection.execute(
        "UPDATE public.users SET enabled = %s WHERE username = %s", [enabled, username]
    )


def set_admin(connection: psycopg.Connection, username: str, admin: bool) -> None:
    """Make the user an admin, or no longer one."""
    connection.execute("UPDATE public.users SET admin = %s WHERE username = %s", [admin, username])


def set_declared(connection: psycopg.Connection, username: str, declared: bool) -> None:
    """Remember whether the deployment's settings name the user."""
    connection.execute(
        "UPDATE public.users SET declared = %s WHERE username = %s", [declared, username]
    )


def remove(connection: psycopg.Connection, username: str) -> None:
    """Delete the row."""
    connection.execute("DELETE FROM public.users WHERE username = %s", [username])


def require_another_admin(connection: psycopg.Connection, username: str) -> None:
    """Check that an enabled admin other than ``username`` exists.

    :raises RefusedError: if ``username`` is the last one.
    """
    others = connection.execute(
        "SELECT 1 FROM public.users WHERE admin AND enabled AND username <> %s LIMIT 1", [username]
    ).fetchone()
    user = get(connection, username)
    if others is None and user.admin and user.enabled:
        raise RefusedError(
            f"{username!r} is the last enabled admin: name another first "
            "(hub-users admin NAME), or insist with --force"
        )
