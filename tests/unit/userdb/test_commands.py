"""hub-users, as the person at the terminal sees it."""

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hubstead_userdb.initial import InitialPasswords
from hubstead_userdb.passwords import Passwords

SECRET = "correct horse"


@pytest.fixture
def people(hub_users: Any) -> Any:
    """An admin ada and a user bob."""
    hub_users.ok("add", "ada", "--admin", "--password-stdin", stdin=f"{SECRET}\n")
    hub_users.ok("add", "bob", "--password-stdin", stdin=f"{SECRET}\n")
    return hub_users


def _users(hub_users: Any) -> dict[str, dict[str, Any]]:
    return {user["username"]: user for user in json.loads(hub_users.ok("list", "--json"))}


def _accepts(hub_users: Any, name: str, password: str) -> bool:
    with hub_users.owner() as owner:
        row = owner.execute("SELECT password_hash FROM users WHERE username = %s", [name])
        return Passwords(4).matches(password, row.fetchone()[0])


def _refused(hub_users: Any, *args: str, stdin: str = "") -> str:
    done = hub_users(*args, stdin=stdin)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done
    return str(done.err)


def test_add_and_list(people: Any) -> None:
    users = _users(people)
    assert users["ada"]["admin"] and not users["bob"]["admin"]
    assert _accepts(people, "bob", SECRET)
    assert people.ok("list") == "ada  admin\nbob\n"
    assert "hash" not in people.ok("list", "--json")


@pytest.mark.parametrize(
    ("name", "password", "says"),
    [
        ("Ada", SECRET, "lower-case"),
        ("bob", SECRET, "exists already"),
        ("eve", "short", "too short"),
        ("eve", "", "too short"),
        ("eve", "x" * 73, "too long"),
        ("eve", "nul\0nul\0nul", "control character"),
        ("eve-the-spy", "eve-the-spy", "differ from the username"),
        ("eve'; DROP TABLE users; --", SECRET, "cannot be a username"),
    ],
)
def test_add_refuses(people: Any, name: str, password: str, says: str) -> None:
    assert says in _refused(people, "add", name, "--password-stdin", stdin=f"{password}\n")
    assert set(_users(people)) == {"ada", "bob"}


def test_a_password_may_begin_and_end_with_spaces(people: Any) -> None:
    people.ok("passwd", "bob", "--password-stdin", stdin="  spaced  \r\n")
    assert _accepts(people, "bob", "  spaced  ")


def test_passwd(people: Any) -> None:
    people.ok("passwd", "bob", "--password-stdin", "--must-change", stdin="another one\n")
    assert _accepts(people, "bob", "another one")
    assert _users(people)["bob"]["must_change_password"]
    assert "no user 'eve'" in _refused(people, "passwd", "eve", "--generate")
    assert "no terminal" in _refused(people, "passwd", "bob")


def _on_terminal(hub_users: Any, args: list[str], typed: str) -> tuple[int, str]:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hubstead_userdb", *args],
        env=hub_users.environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    shown = b""
    lines = iter(typed.splitlines(keepends=True))
    try:
        while chunk := os.read(leader, 1024):
            shown += chunk
            # getpass turns the echo off before it asks, so an answer to the prompt is hidden.
            if chunk.rstrip(b" ").endswith((b":", b"[y/N]")):
                os.write(leader, next(lines).encode())
    except OSError:
        pass  # Linux answers EIO when the last process has closed the terminal.
    os.close(leader)
    return process.wait(timeout=30), shown.decode()


def test_the_terminal_asks_twice_and_shows_nothing(people: Any) -> None:
    code, shown = _on_terminal(people, ["passwd", "bob"], "typed secret\ntyped secret\n")
    assert code == 0
    assert "typed secret" not in shown
    assert _accepts(people, "bob", "typed secret")
    code, shown = _on_terminal(people, ["passwd", "bob"], "typed secret\nother secret\n")
    assert code == 1
    assert "the two passwords differ" in shown


def test_remove_asks(people: Any) -> None:
    code, shown = _on_terminal(people, ["remove", "bob"], "\n")
    assert (code, "nothing was removed" in shown) == (1, True)
    assert "give --yes" in _refused(people, "remove", "bob")
    assert "bob" in _users(people)
    code, _ = _on_terminal(people, ["remove", "bob"], "y\n")
    assert code == 0
    assert set(_users(people)) == {"ada"}


def test_disable_and_enable(people: Any) -> None:
    people.ok("disable", "bob")
    assert not _users(people)["bob"]["enabled"]
    people.ok("enable", "bob")
    assert _users(people)["bob"]["enabled"]


@pytest.mark.parametrize(
    "args", [["disable", "ada"], ["remove", "ada", "--yes"], ["admin", "ada", "--revoke"]]
)
def test_the_last_admin_stays_unless_forced(people: Any, args: list[str]) -> None:
    people.ok("admin", "bob")
    people.ok("disable", "bob")
    assert "last enabled admin" in _refused(people, *args)
    people.ok(*args, "--force")
    assert not any(user["admin"] and user["enabled"] for user in _users(people).values())


def test_an_admin_may_go_when_there_is_another(people: Any) -> None:
    people.ok("admin", "bob")
    people.ok("admin", "ada", "--revoke")
    people.ok("remove", "ada", "--yes")
    assert set(_users(people)) == {"bob"}


def test_initial_password_until_it_is_changed(people: Any) -> None:
    out = people.ok("add", "eve", "--generate")
    assert "sudo hub-users initial-password eve" in out
    file = people.initial / "eve"
    password = people.ok("initial-password", "eve").strip()
    assert file.read_text() == f"{password}\n"
    assert password not in out
    assert _accepts(people, "eve", password)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(people.initial.stat().st_mode) == 0o700
    assert people.ok("initial-password") == "eve\n"

    with people.owner() as owner:
        owner.execute("UPDATE users SET must_change_password = false WHERE username = 'eve'")
    done = people("initial-password", "eve")
    assert (done.code, done.out) == (0, "")
    assert "has changed the initial password" in done.err
    assert not file.exists()
    assert people.ok("initial-password") == ""
    assert "no initial password" in _refused(people, "initial-password", "eve")


def test_a_new_password_replaces_the_initial_one(people: Any) -> None:
    people.ok("add", "eve", "--generate")
    first = people.ok("initial-password", "eve")
    people.ok("passwd", "eve", "--generate")
    second = people.ok("initial-password", "eve")
    assert first != second
    assert (people.initial / "eve").read_text() == second
    people.ok("passwd", "eve", "--password-stdin", stdin=f"{SECRET}\n")
    assert not (people.initial / "eve").exists()


def test_a_cut_before_or_after_the_commit_loses_no_password(people: Any) -> None:
    people.ok("add", "eve", "--generate")
    first = people.ok("initial-password", "eve")
    store = InitialPasswords(people.initial)
    # Cut before the commit: the file has the next password, the row still the first.
    store.propose("eve", "never-committed")
    assert people.ok("initial-password", "eve") == first
    # The next run, cut after the commit: nothing settled the file.
    store.propose("eve", "committed-now")
    with people.owner() as owner:
        owner.execute(
            "UPDATE users SET password_hash = %s WHERE username = 'eve'",
            [Passwords(4).hash("committed-now")],
        )
    assert people.ok("initial-password", "eve") == "committed-now\n"
    people.ok("passwd", "eve", "--generate")
    assert (people.initial / "eve").read_text() == people.ok("initial-password", "eve")


def test_removing_a_user_removes_the_initial_password(people: Any) -> None:
    people.ok("add", "eve", "--generate")
    people.ok("remove", "eve", "--yes")
    assert list(people.initial.iterdir()) == []


def test_status(people: Any) -> None:
    people.ok("add", "eve", "--generate")
    people.ok("disable", "bob")
    assert json.loads(people.ok("status", "--json")) == {
        "schema_version": 2,
        "schema_wanted": 2,
        "users": 3,
        "enabled": 2,
        "admins": 1,
        "must_change_password": 1,
        "declared": 0,
    }
    assert "users: 3" in people.ok("status")


def _cannot(hub_users: Any, *args: str | Path) -> str:
    done = hub_users(*args)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    return str(done.err)


def test_no_table_yet(bare: Any) -> None:
    for args in (["list"], ["add", "ada", "--generate"], ["disable", "ada"]):
        assert "run 'sudo hub-users migrate'" in _cannot(bare, *args)


def test_connection_lines_that_do_not_work(bare: Any, tmp_path: Path) -> None:
    assert "does not exist" in _cannot(bare, "--dsn-file", tmp_path / "none", "list")
    assert "cannot read" in _cannot(bare, "list", "--dsn-file", tmp_path)
    for line, says in (
        ("hunter2 hunter3", "does not hold a libpq connection line"),
        (f"host={tmp_path} user=x password=hunter2", "cannot reach the database"),
        (f"host={bare.cluster.directory} user=userdb_owner password=hunter2", "password auth"),
    ):
        (tmp_path / "dsn").write_text(line)
        error = _cannot(bare, "--dsn-file", tmp_path / "dsn", "list")
        assert says in error
        assert "hunter" not in error


def test_an_unreadable_line_asks_for_sudo(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    assert "run with sudo" in _cannot(bare, "list")


def test_usage_errors(bare: Any) -> None:
    for args in ([], ["frobnicate"], ["add"], ["--min-length", "x", "list"]):
        assert bare(*args).code == 2
    assert "--generate" in bare("add", "--help").out


def test_no_secret_reaches_the_servers_log(people: Any) -> None:
    people.ok("add", "eve", "--generate")
    password = people.ok("initial-password", "eve").strip()
    log = (people.cluster.directory / "log").read_text()
    assert password not in log
    assert SECRET not in log
