"""The table, and what each role may do with it."""

import subprocess
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
import pytest

HASH = "$2b$04$" + "a" * 53
OTHER = "$2b$04$" + "b" * 53


def _insert(connection: psycopg.Connection, **columns: Any) -> None:
    row = {"username": "ada", "password_hash": HASH} | columns
    connection.execute(
        psycopg.sql.SQL("INSERT INTO users ({}) VALUES ({})").format(
            psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, row)),
            psycopg.sql.SQL(", ").join(map(psycopg.sql.Literal, row.values())),
        )
    )


def test_migrate_twice_changes_once(bare: Any) -> None:
    assert "create the users table" in bare.ok("migrate", "--check")
    assert "create the users table" in bare.ok("migrate")
    assert bare.ok("migrate") == '{"changes": []}\n'
    assert bare.ok("migrate", "--check") == '{"changes": []}\n'


def test_eight_migrations_at_once_make_one_table(bare: Any) -> None:
    processes = [bare.start("migrate") for _ in range(8)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert sum("create" in output for output in outputs) == 1


def test_a_migration_that_is_cut_leaves_nothing(bare: Any) -> None:
    from hubstead_userdb import schema

    connection = psycopg.connect(bare.owner_dsn.read_text())
    schema.lock_for_writing(connection)
    connection.execute(schema._VERSION_1)
    connection.close()
    assert '"schema_version": null' in bare.ok("status", "--json")
    bare.ok("migrate")
    assert '"schema_version": 2' in bare.ok("status", "--json")


DRIFTS = {
    "userdb_reader": (
        "REVOKE SELECT ON users FROM userdb_reader",
        "GRANT UPDATE (admin) ON users TO userdb_reader",
        "GRANT INSERT ON users TO userdb_reader",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "REVOKE EXECUTE ON FUNCTION change_password FROM userdb_reader",
    ),
    "userdb_login": (
        "REVOKE SELECT ON users FROM userdb_login",
        "GRANT SELECT ON login_sessions TO userdb_login",
        "GRANT UPDATE (expires_at) ON login_sessions TO userdb_login",
        "GRANT DELETE ON login_sessions TO userdb_login",
        "REVOKE EXECUTE ON FUNCTION login_session_find FROM userdb_login",
    ),
}


@pytest.mark.parametrize("role", DRIFTS)
def test_migrate_gives_back_a_lost_right_and_takes_a_surplus_one(bare: Any, role: str) -> None:
    bare.ok("migrate")
    with bare.owner() as owner:
        for drift in DRIFTS[role]:
            owner.execute(drift)
            assert f"grant {role} its rights" in bare.ok("migrate", "--check"), drift
            bare.ok("migrate")
            assert bare.ok("migrate", "--check") == '{"changes": []}\n', drift


def test_migrate_leaves_a_foreign_users_table_alone(bare: Any) -> None:
    with bare.owner() as owner:
        owner.execute("CREATE TABLE users (username varchar(50), password varchar(50))")
    done = bare("migrate")
    assert done.code == 1
    assert "has a table 'users' already" in done.err


def test_a_newer_schema_is_refused(bare: Any) -> None:
    bare.ok("migrate")
    with bare.owner() as owner:
        owner.execute("UPDATE userdb_schema SET version = 99")
    done = bare("migrate")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "newer" in done.err


BAD_ROWS: list[dict[str, str]] = [
    {"username": "Ada"},
    {"username": ""},
    {"username": ".ada"},
    {"username": "a/b"},
    {"username": "ada\n"},
    {"username": "a" * 65},
    {"username": "ädä"},
    {"password_hash": "secret"},
    {"password_hash": "$2b$31$" + "a" * 53},
    {"password_hash": HASH + "\n"},
]


def test_the_table_refuses_bad_rows(hub_users: Any) -> None:
    with hub_users.owner() as owner:
        for row in BAD_ROWS:
            with pytest.raises(psycopg.errors.CheckViolation):
                _insert(owner, **row)


def test_names_are_unique_and_updates_are_dated(hub_users: Any) -> None:
    with hub_users.owner() as owner:
        _insert(owner)
        with pytest.raises(psycopg.errors.UniqueViolation):
            _insert(owner)
        owner.execute("UPDATE users SET admin = admin")
        unchanged = owner.execute("SELECT updated_at = created_at FROM users").fetchone()
        owner.execute("UPDATE users SET admin = true")
        changed = owner.execute("SELECT updated_at > created_at FROM users").fetchone()
    assert (unchanged, changed) == ((True,), (True,))


FORBIDDEN = [
    "INSERT INTO users (username, password_hash) VALUES ('eve', %(hash)s)",
    "UPDATE users SET admin = true",
    "UPDATE users SET password_hash = %(hash)s",
    "DELETE FROM users",
    "TRUNCATE users",
    "SELECT * FROM users FOR UPDATE",
    "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE",
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    "ALTER TABLE users DISABLE TRIGGER ALL",
    "DROP TABLE users",
    "DROP FUNCTION change_password",
    "SET ROLE userdb_owner",
    "SELECT * FROM userdb_schema",
    "UPDATE userdb_schema SET version = 2",
    "SELECT nextval('users_id_seq')",
    "COPY users TO PROGRAM 'id'",
]


def check_refused(connect: Callable[[], psycopg.Connection], statements: Iterable[str]) -> None:
    """Whoever connects has the right to none of the statements."""
    allowed = []
    for statement in statements:
        with connect() as connection:
            try:
                connection.execute(statement, {"hash": OTHER} if "%(hash)s" in statement else None)
                allowed.append(statement)
            except psycopg.errors.InsufficientPrivilege:
                pass
    assert allowed == []


def test_the_reader_may_not(hub_users: Any) -> None:
    with hub_users.owner() as owner:
        _insert(owner)
    check_refused(hub_users.reader, FORBIDDEN)


def test_the_reader_cannot_pass_its_rights_on(hub_users: Any) -> None:
    with hub_users.reader() as reader:
        # PostgreSQL answers with a warning only.
        reader.execute("GRANT ALL ON users TO PUBLIC")
        row = reader.execute("SELECT relacl::text FROM pg_class WHERE relname = 'users'").fetchone()
    assert row is not None
    _, *others = row[0].strip("{}").split(",")
    assert sorted(others) == ["userdb_login=r/userdb_owner", "userdb_reader=r/userdb_owner"]


def test_others_may_not_even_connect(hub_users: Any) -> None:
    with hub_users.cluster.superuser() as superuser:
        superuser.execute("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    try:
        with pytest.raises(psycopg.OperationalError, match="CONNECT privilege"):
            psycopg.connect(hub_users.cluster.dsn("stranger", "stranger"))
    finally:
        with hub_users.cluster.superuser() as superuser:
            superuser.execute("DROP ROLE stranger")


def _change(connection: psycopg.Connection, *arguments: str) -> bool:
    row = connection.execute("SELECT change_password(%s, %s, %s)", arguments).fetchone()
    assert row is not None
    return bool(row[0])


def test_the_reader_changes_a_password_it_knows_and_nothing_else(hub_users: Any) -> None:
    with hub_users.owner() as owner, hub_users.reader() as reader:
        _insert(owner, must_change_password=True)
        _insert(owner, username="bob", enabled=False)
        assert not _change(reader, "ada", OTHER, OTHER)
        assert not _change(reader, "bob", HASH, OTHER)
        assert not _change(reader, "eve", HASH, OTHER)
        with pytest.raises(psycopg.errors.CheckViolation):
            _change(reader, "ada", HASH, "plain text")
        assert _change(reader, "ada", HASH, OTHER)
        assert not _change(reader, "ada", HASH, HASH)
        rows = owner.execute(
            "SELECT username, password_hash, must_change_password, admin, enabled FROM users"
            " ORDER BY username"
        ).fetchall()
    assert rows == [("ada", OTHER, False, False, True), ("bob", HASH, False, False, False)]


def test_objects_of_ones_own_do_not_deceive_the_function(bare: Any) -> None:
    """A SECURITY DEFINER function must not find the caller's operators before the real ones."""
    bare.ok("migrate")
    with bare.cluster.superuser() as superuser:
        superuser.execute("GRANT TEMPORARY, CREATE ON DATABASE userdb TO userdb_reader")
    with bare.owner() as owner, bare.reader() as reader:
        _insert(owner)
        reader.execute("CREATE SCHEMA evil")
        reader.execute("GRANT USAGE ON SCHEMA evil TO PUBLIC")
        reader.execute(
            "CREATE FUNCTION evil.eq(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true'"
        )
        reader.execute(
            "CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq)"
        )
        reader.execute("CREATE TEMP TABLE users (username text, password_hash text, enabled bool)")
        reader.execute("SET search_path = evil, pg_temp, pg_catalog, public")
        assert not _change_in_public(reader, "ada", OTHER, OTHER)


def _change_in_public(connection: psycopg.Connection, *arguments: str) -> bool:
    row = connection.execute("SELECT public.change_password(%s, %s, %s)", arguments).fetchone()
    assert row is not None
    return bool(row[0])


def test_two_admins_who_disable_each_other_at_once_leave_one(hub_users: Any) -> None:
    from hubstead_userdb import schema, table

    with hub_users.owner() as owner:
        _insert(owner, admin=True)
        _insert(owner, username="bob", admin=True)
    with psycopg.connect(hub_users.owner_dsn.read_text()) as first:
        schema.lock_for_writing(first)
        table.require_another_admin(first, "ada")
        table.set_enabled(first, "ada", False)
        second = hub_users.start("disable", "bob")
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=2)
    assert "last enabled admin" in second.communicate(timeout=60)[1]
    assert second.returncode == 1
