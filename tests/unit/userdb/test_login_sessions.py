"""The sessions of JupyterLab's login in the database, and what its role may do."""

import threading
from typing import Any

import psycopg
import pytest

from .test_schema import FORBIDDEN, check_refused

HASH = "$2b$04$" + "a" * 53
OTHER = "$2b$04$" + "b" * 53
TOKEN = b"t" * 32


@pytest.fixture
def owner(hub_users: Any) -> psycopg.Connection:
    """The owner's connection, beside a user ada."""
    connection: psycopg.Connection = hub_users.owner()
    connection.execute("INSERT INTO users (username, password_hash) VALUES ('ada', %s)", [HASH])
    return connection


@pytest.fixture
def login(hub_users: Any, owner: psycopg.Connection) -> psycopg.Connection:
    connection: psycopg.Connection = hub_users.login()
    return connection


def opened(
    login: psycopg.Connection, current_hash: str = HASH, token: bytes = TOKEN, minutes: int = 15
) -> bool:
    row = login.execute(
        "SELECT login_session_open('ada', %s, %s, %s)", [current_hash, token, minutes]
    ).fetchone()
    assert row is not None
    return bool(row[0])


def found(login: psycopg.Connection, token: bytes = TOKEN) -> tuple[str, int] | None:
    row = login.execute("SELECT * FROM login_session_find(%s)", [token]).fetchone()
    return None if row is None else (row[0], row[1])


def test_a_session_lasts_its_minutes_and_ends_on_logout(login: psycopg.Connection) -> None:
    assert found(login) is None
    assert opened(login)
    session = found(login)
    assert session is not None and session[0] == "ada" and 890 < session[1] <= 900
    assert found(login, b"x" * 32) is None
    login.execute("SELECT login_session_close(%s)", [TOKEN])
    assert found(login) is None


def test_only_the_hash_in_force_opens_a_session(
    owner: psycopg.Connection, login: psycopg.Connection
) -> None:
    assert not opened(login, OTHER)
    owner.execute("UPDATE users SET must_change_password = true")
    assert not opened(login)
    owner.execute("UPDATE users SET must_change_password = false, enabled = false")
    assert not opened(login)
    assert found(login) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET enabled = false",
        "UPDATE users SET must_change_password = true",
        f"UPDATE users SET password_hash = '{OTHER}'",
        "DELETE FROM users",
    ],
)
def test_a_change_of_the_user_ends_the_sessions_for_good(
    owner: psycopg.Connection, login: psycopg.Connection, change: str
) -> None:
    assert opened(login)
    owner.execute("UPDATE users SET admin = true")
    assert found(login) is not None
    owner.execute(change)
    assert found(login) is None
    owner.execute(
        "UPDATE users SET enabled = true, must_change_password = false, password_hash = %s", [HASH]
    )
    assert found(login) is None


def test_expired_sessions_count_no_more_and_are_deleted_by_the_next_login(
    owner: psycopg.Connection, login: psycopg.Connection
) -> None:
    assert opened(login)
    owner.execute("UPDATE login_sessions SET expires_at = now()")
    assert found(login) is None
    assert opened(login, token=b"u" * 32)
    rows = owner.execute("SELECT token_hash FROM login_sessions").fetchall()
    assert rows == [(b"u" * 32,)]


def test_no_session_begins_beside_the_change_that_ends_all(
    hub_users: Any, login: psycopg.Connection
) -> None:
    with psycopg.connect(hub_users.owner_dsn.read_text()) as resetting:
        resetting.execute("UPDATE users SET password_hash = %s", [OTHER])
        answers: list[bool] = []
        thread = threading.Thread(target=lambda: answers.append(opened(login)))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert answers == [False]
    assert found(login) is None


def test_the_login_may_not(login: psycopg.Connection, hub_users: Any) -> None:
    assert opened(login)
    more = (
        "SELECT * FROM login_sessions",
        "INSERT INTO login_sessions VALUES ('x', 1, now())",
        "UPDATE login_sessions SET expires_at = 'infinity'",
        "DELETE FROM login_sessions",
        "SELECT users_end_sessions()",
    )
    check_refused(hub_users.login, (*FORBIDDEN, *more))


def test_the_reader_has_no_part_in_sessions(hub_users: Any, login: psycopg.Connection) -> None:
    statements = (
        "SELECT * FROM login_sessions",
        "SELECT login_session_find('x')",
        "SELECT login_session_close('x')",
        "SELECT login_session_open('ada', 'x', 'x', 1)",
    )
    check_refused(hub_users.reader, statements)


def test_a_deployment_without_the_login_migrates_and_gets_it_later(bare: Any) -> None:
    with bare.cluster.superuser() as superuser:
        superuser.execute("ALTER ROLE userdb_login RENAME TO parked")
        try:
            bare.ok("migrate")
            assert bare.ok("migrate") == '{"changes": []}\n'
        finally:
            superuser.execute("ALTER ROLE parked RENAME TO userdb_login")
        # as the deploy does for the databases to which it may connect, and for no other
        assert bare.ok("migrate") == '{"changes": []}\n'
        superuser.execute("GRANT CONNECT ON DATABASE userdb TO userdb_login")
    assert bare.ok("migrate") == '{"changes": ["grant userdb_login its rights"]}\n'


def test_the_first_schema_is_brought_up_to_date_with_its_rows(bare: Any) -> None:
    from hubstead_userdb import schema

    with bare.owner() as owner:
        owner.execute(schema._VERSION_1)
        owner.execute("INSERT INTO userdb_schema (version) VALUES (1)")
        owner.execute("INSERT INTO users (username, password_hash) VALUES ('ada', %s)", [HASH])
        assert "from schema version 1 to 2" in bare.ok("migrate", "--check")
        bare.ok("migrate")
        assert bare.ok("migrate", "--check") == '{"changes": []}\n'
        assert owner.execute("SELECT username FROM users").fetchall() == [("ada",)]
    with bare.login() as login:
        assert opened(login)
