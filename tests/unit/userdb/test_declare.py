"""The users that a deployment's settings declare."""

import json
import sys
from typing import Any

import pytest
from pyinfra.facts.server import Which

from hubstead.operations import users_table
from tests.unit.operations.support import Command, commands

ADA: dict[str, Any] = {"username": "ada", "admin": True, "enabled": True}
BOB: dict[str, Any] = {"username": "bob"}


def _changes(hub_users: Any, *people: dict[str, Any], check: bool = False) -> list[str]:
    args = ["declare", "--json", json.dumps(people), *(["--check"] if check else [])]
    changes: list[str] = json.loads(hub_users.ok(*args))["changes"]
    return changes


def _rows(hub_users: Any) -> dict[str, tuple[bool, bool, bool]]:
    return {
        user["username"]: (user["admin"], user["enabled"], user["declared"])
        for user in json.loads(hub_users.ok("list", "--json"))
    }


def test_declared_users_are_made_once(hub_users: Any) -> None:
    wanted = ["create ada", "create bob"]
    assert _changes(hub_users, ADA, BOB, check=True) == wanted
    assert _rows(hub_users) == {}
    assert _changes(hub_users, ADA, BOB) == wanted
    assert _rows(hub_users) == {"ada": (True, True, True), "bob": (False, True, True)}
    first = hub_users.ok("initial-password", "ada")
    assert _changes(hub_users, ADA, BOB) == []
    assert hub_users.ok("initial-password", "ada") == first
    assert hub_users.ok("initial-password") == "ada\nbob\n"


def test_rights_follow_the_declaration(hub_users: Any) -> None:
    _changes(hub_users, ADA, BOB)
    eve: dict[str, Any] = {"username": "eve", "enabled": False}
    changes = [ADA | {"enabled": False}, BOB | {"admin": True}, eve]
    wanted = ["disable ada", "make admin bob", "create eve"]
    assert _changes(hub_users, *changes, check=True) == wanted
    assert _changes(hub_users, *changes) == wanted
    assert _rows(hub_users) == {
        "ada": (True, False, True),
        "bob": (True, True, True),
        "eve": (False, False, True),
    }
    assert _changes(hub_users, ADA, BOB, eve) == ["enable ada", "revoke admin bob"]


def test_who_is_no_longer_declared_is_disabled_not_deleted(hub_users: Any) -> None:
    _changes(hub_users, ADA, BOB)
    password = hub_users.ok("initial-password", "bob")
    assert _changes(hub_users, ADA) == ["disable bob"]
    assert _rows(hub_users)["bob"] == (False, False, False)
    assert _changes(hub_users, ADA) == []
    assert _changes(hub_users, ADA, BOB) == ["declare bob", "enable bob"]
    assert hub_users.ok("initial-password", "bob") == password
    hub_users.ok("disable", "bob")
    assert _changes(hub_users, ADA) == ["undeclare bob"]


def test_users_added_by_hand_are_untouched_until_declared(hub_users: Any) -> None:
    hub_users.ok("add", "bob", "--admin", "--password-stdin", stdin="correct horse\n")
    assert _changes(hub_users, ADA) == ["create ada"]
    assert _rows(hub_users)["bob"] == (True, True, False)
    assert _changes(hub_users, ADA, BOB) == ["declare bob", "revoke admin bob"]
    assert hub_users.ok("initial-password") == "ada\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "no enabled admin"),
        ('[{"username": "ada"}]', "no enabled admin"),
        ('[{"username": "ada", "admin": true, "enabled": false}]', "no enabled admin"),
        ('[{"username": "Ada", "admin": true}]', "cannot be a username"),
        ('[{"username": "ada", "admin": "yes"}]', "true or false"),
        ('[{"username": "ada", "admin": true, "shell": "x"}]', "unknown key 'shell'"),
        ('[{"username": "ada", "admin": true}, {"username": "ada"}]', "declared twice: ada"),
        ('[{"admin": true}]', '"username"'),
        ('{"username": "ada"}', "not a JSON list"),
        ("[", "not JSON"),
    ],
)
def test_bad_declarations_change_nothing(hub_users: Any, text: str, says: str) -> None:
    _changes(hub_users, ADA, BOB)
    before = _rows(hub_users)
    for check in ([], ["--check"]):
        done = hub_users("declare", "--json", text, *check)
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert says in done.err
    assert _rows(hub_users) == before


def test_check_before_there_is_a_table_or_a_database(bare: Any) -> None:
    assert _changes(bare, ADA, check=True) == ["create ada"]
    bare.owner_dsn.write_text(f"host={bare.directory} dbname=userdb")
    out = bare.ok("declare", "--json", json.dumps([ADA]), "--check")
    assert "cannot reach the database" in json.loads(out)["unavailable"]
    out = bare.ok("migrate", "--check")
    assert "cannot reach the database" in json.loads(out)["unavailable"]
    bare.owner_dsn.unlink()
    out = bare.ok("declare", "--json", json.dumps([ADA]), "--check")
    assert "does not exist" in json.loads(out)["unavailable"]


def test_from_standard_input(hub_users: Any) -> None:
    out = hub_users.ok("declare", "--json", "-", stdin=json.dumps([ADA]))
    assert json.loads(out) == {"changes": ["create ada"]}


def test_a_run_that_dies_leaves_no_half(hub_users: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second password cannot be stored: no row may be there, and the next run makes all."""
    from hubstead_userdb.initial import InitialPasswords

    real = InitialPasswords.propose

    def failing(self: InitialPasswords, username: str, password: str) -> None:
        if username == "bob":
            raise OSError(28, "No space left on device", "initial-passwords")
        real(self, username, password)

    with monkeypatch.context() as patch:
        patch.setattr(InitialPasswords, "propose", failing)
        done = hub_users("declare", "--json", json.dumps([ADA, BOB]))
    assert (done.code, done.err) == (2, "hub-users: initial-passwords: No space left on device\n")
    assert _rows(hub_users) == {}
    assert _changes(hub_users, ADA, BOB) == ["create ada", "create bob"]
    assert len((hub_users.initial / "ada").read_text().split()) == 1
    assert hub_users.ok("initial-password", "ada") == (hub_users.initial / "ada").read_text()


def test_nobody_waits_while_passwords_are_hashed(
    hub_users: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once 5,000 new people kept every other hub-users out for 20 minutes."""
    from hubstead_userdb import schema
    from hubstead_userdb.passwords import Passwords

    real, hashed = Passwords.hash, []

    def hash_beside_a_writer(self: Passwords, password: str) -> str:
        with hub_users.owner() as other, other.transaction():
            other.execute("SET LOCAL lock_timeout = '1s'")
            other.execute("SELECT pg_advisory_xact_lock(%s)", [schema._WRITER_LOCK])
        hashed.append(password)
        return real(self, password)

    monkeypatch.setattr(Passwords, "hash", hash_beside_a_writer)
    assert _changes(hub_users, ADA, BOB) == ["create ada", "create bob"]
    first = {hub_users.ok("initial-password", name).strip() for name in ("ada", "bob")}
    assert first == set(hashed)


def test_a_university_is_declared(hub_users: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the people were an argument, which has 128 KiB: 2,100 of them were too many."""
    script = hub_users.directory / "hub-users"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m hubstead_userdb "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(users_table, "COMMAND", str(script))
    for name, value in hub_users.environment.items():
        monkeypatch.setenv(name, value)
    names = [f"a.rather-long-name.{number}@students.example.org" for number in range(5000)]
    people = [{"username": name, "admin": name == names[0], "enabled": True} for name in names]

    # all but three are there: to make 5,000 takes half a minute
    with hub_users.owner() as owner, owner.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO users (username, password_hash, declared) VALUES (%s, %s, true)",
            [(name, f"$2b$04${'a' * 53}") for name in names[3:]],
        )

    facts = {Which: str(script), users_table.Changes: ["unknown yet"]}
    (command,) = commands(users_table.declared, facts, people=people)
    asked = Command(f"{command.line} --check", command.stdin)
    assert users_table.parse_changes(asked.run()) == [f"create {name}" for name in names[:3]]
    command.run()
    assert users_table.parse_changes(asked.run()) == []
    assert len(_rows(hub_users)) == 5000
