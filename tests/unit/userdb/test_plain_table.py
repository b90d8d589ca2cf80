"""Taking over the table of the login that this one replaces, with plain passwords."""

import json
from pathlib import Path
from typing import Any

import bcrypt
import psycopg
import pytest

SEED = "CREATE TABLE users (id SERIAL PRIMARY KEY, username VARCHAR(50), password varchar(50))"


DOCS = Path(__file__).parents[3] / "docs"


def test_the_example_of_the_documentation(bare: Any) -> None:
    example = (DOCS / "examples/plain-users.sql").read_text()
    assert example in (DOCS / "login.md").read_text()
    with bare.cluster.superuser() as superuser:
        superuser.execute(example)
        superuser.execute("ALTER TABLE users OWNER TO userdb_owner")
    assert "hub-users import --plain-table" in bare("migrate").err
    assert "Took over 2 users" in bare.ok("import", "--plain-table")
    assert [user["username"] for user in json.loads(bare.ok("list", "--json"))] == [
        "ada",
        "username",
    ]
    assert bare.ok("migrate") == '{"changes": []}\n'


@pytest.fixture
def old(bare: Any) -> psycopg.Connection:
    """The database with such a table, which the owner of the users table owns."""
    owner: psycopg.Connection = bare.owner()
    owner.execute(SEED)
    return owner


def _insert(old: psycopg.Connection, *rows: tuple[str | None, str | None]) -> None:
    with old.cursor() as cursor:
        cursor.executemany("INSERT INTO users (username, password) VALUES (%s, %s)", rows)


def test_the_table_keeps_its_people_and_loses_its_plain_passwords(
    bare: Any, old: psycopg.Connection
) -> None:
    _insert(old, ("username", "password"), ("Ada", "correct horse"), ("bob", "x"), ("gone", "y"))
    old.execute("DELETE FROM users WHERE username = 'gone'")
    out = bare.ok("import", "--plain-table")
    assert "Took over 3 users" in out
    assert "Must change their password at the next login: bob" in out
    rows = old.execute("SELECT id, username, password_hash FROM users ORDER BY id").fetchall()
    assert [row[:2] for row in rows] == [(1, "username"), (2, "ada"), (3, "bob")]
    for row, password in zip(rows, (b"password", b"correct horse", b"x"), strict=True):
        assert bcrypt.checkpw(password, row[2].encode())
    assert bare.ok("migrate") == '{"changes": []}\n'
    # New people get new ids, and names may be longer than before.
    bare.ok("add", "a" * 64, "--generate")
    row = old.execute("SELECT max(id) FROM users").fetchone()
    assert row == (4,)
    status = json.loads(bare.ok("status", "--json"))
    assert (status["users"], status["admins"], status["enabled"]) == (4, 0, 4)
    with bare.reader() as reader:
        assert reader.execute("SELECT count(*) FROM users").fetchone() == (4,)


def test_once_is_enough(bare: Any, old: psycopg.Connection) -> None:
    _insert(old, ("ada", "correct horse"))
    bare.ok("import", "--plain-table", "--must-change")
    before = old.execute("SELECT * FROM users").fetchall()
    done = bare("import", "--plain-table")
    assert (done.code, "already" in done.err) == (1, True)
    assert old.execute("SELECT * FROM users").fetchall() == before
    assert json.loads(bare.ok("list", "--json"))[0]["must_change_password"]


def test_every_bad_row_is_named_and_nothing_is_changed(bare: Any, old: psycopg.Connection) -> None:
    _insert(
        old, ("ada", "correct horse"), ("ADA ", "hunter2"), (None, "hunter2"), ("a b", "hunter2"),
        ("bob", None), ("eve", ""), ("long", "ä" * 40), ("ada", "hunter2"),
    )  # fmt: skip
    before = old.execute("SELECT * FROM users ORDER BY id").fetchall()
    done = bare("import", "--plain-table")
    assert done.code == 1
    *reasons, summary = done.err.splitlines()
    assert [reason.partition(":")[0] for reason in reasons] == [
        f"row with id {number}" for number in range(2, 9)
    ]
    assert "user 'ada' is in the row with id 1 already" in reasons[0]
    assert "longer than 72 bytes" in reasons[5]
    assert "7 bad rows, nothing was changed" in summary
    assert "hunter2" not in done.err and "ä" not in done.err
    assert old.execute("SELECT * FROM users ORDER BY id").fetchall() == before
    assert '"schema_version": null' in bare.ok("status", "--json")


def test_an_empty_table_is_taken_over_as_well(bare: Any, old: psycopg.Connection) -> None:
    assert "Took over 0 users" in bare.ok("import", "--plain-table")
    bare.ok("add", "ada", "--generate")


@pytest.mark.parametrize(
    ("drift", "says"),
    [
        ("DROP TABLE users", "has no table 'users'"),
        ("ALTER TABLE users ADD email text", "it has: email, id, password, username"),
        ("ALTER TABLE users ALTER id TYPE text", "whole numbers"),
        ("CREATE VIEW seen AS SELECT username FROM users", "view seen depends on"),
        ("CREATE TABLE notes (id int REFERENCES users)", "constraint notes_id_fkey"),
    ],
)
def test_what_stands_in_the_way_is_named(
    bare: Any, old: psycopg.Connection, drift: str, says: str
) -> None:
    old.execute(drift)
    done = bare("import", "--plain-table")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert says in done.err


def test_a_table_of_another_role_is_left_to_its_owner(bare: Any) -> None:
    with bare.cluster.superuser() as superuser:
        superuser.execute(SEED)
        done = bare("import", "--plain-table")
        assert (done.code, "ALTER TABLE users OWNER TO userdb_owner" in done.err) == (1, True)
        assert "hub-users import --plain-table" in bare("migrate").err
        superuser.execute("ALTER TABLE users OWNER TO userdb_owner")
    bare.ok("import", "--plain-table")


def test_a_file_or_the_table_but_not_both(bare: Any) -> None:
    assert bare("import").code == 2
    assert bare("import", "users.csv", "--plain-table").code == 2
