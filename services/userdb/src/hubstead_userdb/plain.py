"""Taking over a table ``users (id, username, password)`` with plain passwords, in its place.

Its rows move to a new table of the same name, and the old one is dropped. Unlike an UPDATE, which
leaves the old rows in the table's file until a VACUUM FULL, this deletes the plain passwords.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg
from psycopg.rows import class_row

from hubstead_userdb import schema
from hubstead_userdb.errors import RefusedError
from hubstead_userdb.importer import BadLinesError
from hubstead_userdb.names import normalised, username_problem
from hubstead_userdb.passwords import Passwords

_COLUMNS = {"id", "username", "password"}


@dataclass(frozen=True)
class _Row:
    id: int | None
    username: str | None
    password: str | None = field(repr=False)


def take_over(connection: psycopg.Connection, rules: Passwords, must_change: bool) -> list[str]:
    """Replace the table by hub-users' own, with the same people and ids; return their names.

    Names become lower-case, as those who log in may type them either way. A password that the
    rules would refuse today still works, once: its user must choose another at the first login.

    :param connection: inside a transaction, which the caller commits.
    :param must_change: whether everyone has to choose another.
    :raises RefusedError: if there is no such table, or something stands in its way.
    :raises BadLinesError: with every row that cannot be taken over.
    """
    _require_plain_table(connection)
    try:
        connection.execute("LOCK TABLE public.users IN ACCESS EXCLUSIVE MODE")
        with connection.cursor(row_factory=class_row(_Row)) as cursor:
            rows = cursor.execute(
                "SELECT id, username, password FROM public.users ORDER BY id"
            ).fetchall()
        people = _checked(rows, rules)
        with ThreadPoolExecutor(os.cpu_count()) as executor:
            hashes = list(executor.map(lambda person: rules.hash(person.password), people))
        # Its constraints and its sequence go with it, so that the new ones have their names.
        connection.execute("DROP TABLE public.users")
    except psycopg.errors.InsufficientPrivilege:
        raise RefusedError(
            "the table 'users' belongs to another role: as the database's superuser, "
            f"ALTER TABLE users OWNER TO {connection.info.user}"
        ) from None
    except psycopg.errors.DependentObjectsStillExist as error:
        raise RefusedError(
            f"something else in the database needs the table 'users': {error.diag.message_detail}"
        ) from None
    schema.install(connection)
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO public.users (id, username, password_hash, must_change_password)
            VALUES (%s, %s, %s, %s)
            """,
            [
                (
                    person.id,
                    person.username,
                    password_hash,
                    must_change or rules.problem(person.password, person.username) is not None,
                )
                for person, password_hash in zip(people, hashes, strict=True)
            ],
        )
    connection.execute(
        """
        SELECT setval(pg_get_serial_sequence('public.users', 'id'), max(id))
        FROM public.users HAVING max(id) > 0
        """
    )
    return [person.username for person in people]


@dataclass(frozen=True)
class _Person:
    id: int
    username: str
    password: str = field(repr=False)


def _require_plain_table(connection: psycopg.Connection) -> None:
    if schema.version(connection) is not None:
        raise RefusedError(
            "the users table is hub-users' own already: there are no plain passwords in it"
        )
    columns = {
        name: kind
        for name, kind in connection.execute(
            """
            SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
            WHERE attrelid = to_regclass('public.users') AND attnum > 0 AND NOT attisdropped
            """
        )
    }
    if not columns:
        raise RefusedError("this database has no table 'users'")
    if set(columns) != _COLUMNS:
        raise RefusedError(
            "the table 'users' must have the columns id, username and password, and no others; "
            f"it has: {', '.join(sorted(columns))}"
        )
    if columns["id"] not in {"smallint", "integer", "bigint"}:
        raise RefusedError("the column 'id' of the table 'users' must hold whole numbers")


def _checked(rows: list[_Row], rules: Passwords) -> list[_Person]:
    people: list[_Person] = []
    reasons: list[str] = []
    first: dict[str, int | None] = {}
    ids: set[int | None] = set()
    for row in rows:
        username = normalised(row.username or "")
        password = row.password or ""
        problem = None
        if row.id is None or row.id in ids:
            problem = "its id is missing or is there twice"
        elif name_problem := username_problem(username):
            problem = name_problem
        elif username in first:
            problem = f"user {username!r} is in the row with id {first[username]} already"
        elif not password:
            problem = f"user {username!r} has no password"
        elif not rules.usable(password):
            problem = f"the password of {username!r} is longer than 72 bytes (UTF-8)"
        else:
            people.append(_Person(row.id, username, password))
        ids.add(row.id)
        first.setdefault(username, row.id)
        if problem:
            reasons.append(f"row with id {row.id}: {problem}")
    if reasons:
        raise BadLinesError(f"table 'users': {len(reasons)} bad rows, nothing was changed", reasons)
    return people
