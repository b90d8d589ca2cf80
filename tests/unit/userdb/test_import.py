"""Users from a CSV file."""

import json
from pathlib import Path
from typing import Any

import bcrypt
import pytest

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLE = DOCS / "examples/users.csv"


def _users(hub_users: Any) -> dict[str, dict[str, Any]]:
    return {user["username"]: user for user in json.loads(hub_users.ok("list", "--json"))}


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    """Write a file of the given lines, return its path."""

    def write(*lines: str) -> Path:
        path = tmp_path / "users.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_the_example_of_the_documentation(hub_users: Any) -> None:
    assert EXAMPLE.read_text() in (DOCS / "users.md").read_text()
    out = hub_users.ok("import", EXAMPLE)
    users = _users(hub_users)
    assert f"Imported {len(users)} users." in out
    assert users["grace"]["admin"]
    assert users["alan"]["must_change_password"]
    assert not users["edsger"]["enabled"]
    assert hub_users.ok("initial-password") == "alan\nedsger\n"


def test_everything_at_once(hub_users: Any, csv: Any) -> None:
    made = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()
    path = csv(
        "\ufeffUsername , password,password_hash,admin,enabled",
        'ada,"a, ""quoted"" one",,yes,',
        f"bob,,{made.replace('$2b$', '$2y$')},,true",
        "",
        "eve,,,,0",
    )
    hub_users.ok("import", path)
    users = _users(hub_users)
    assert users["ada"]["admin"] and not users["eve"]["enabled"]
    assert [user["must_change_password"] for user in users.values()] == [False, False, True]
    with hub_users.owner() as owner:
        hashes = dict(owner.execute("SELECT username, password_hash FROM users").fetchall())
    assert bcrypt.checkpw(b'a, "quoted" one', hashes["ada"].encode())
    assert bcrypt.checkpw(b"correct horse", hashes["bob"].encode())
    password = hub_users.ok("initial-password", "eve").strip()
    assert bcrypt.checkpw(password.encode(), hashes["eve"].encode())


def test_semicolons_and_must_change(hub_users: Any, csv: Any) -> None:
    hub_users.ok("import", "--must-change", csv("username;password", "ada;correct, horse"))
    assert _users(hub_users)["ada"]["must_change_password"]


def test_every_bad_line_is_named_and_nothing_is_changed(hub_users: Any, csv: Any) -> None:
    hub_users.ok("add", "old", "--generate")
    path = csv(
        "username,password,password_hash,admin,enabled",
        "good,correct horse,,,",
        "Bad Name,correct horse,,,",
        "short,hunter2,,,",
        "hash,,plainsecret,,",
        "both,correct horse,$2b$04$" + "a" * 53 + ",,",
        "flag,correct horse,,maybe,",
        "columns,correct horse",
        "good,correct horse,,,",
        "old,correct horse,,,",
        '"multi\nline",correct horse,,,',
        "self-same,self-same,,,",
        "nul\0,correct horse,,,",
    )
    done = hub_users("import", path)
    assert done.code == 1
    *reasons, summary = done.err.splitlines()
    assert [reason.split(":")[0] for reason in reasons] == [
        f"line {number}" for number in (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14)
    ]
    assert "11 bad lines, nothing was imported" in summary
    for secret in ("hunter2", "plainsecret", "correct horse"):
        assert secret not in done.err
    assert set(_users(hub_users)) == {"old"}
    assert hub_users.ok("initial-password") == "old\n"


def test_a_class_list_that_grew(hub_users: Any, csv: Any) -> None:
    hub_users.ok("import", csv("username", "ada", "bob"))
    first = hub_users.ok("initial-password", "ada")
    path = csv("username", "ada", "bob", "eve")
    assert hub_users("import", path).code == 1
    assert "Imported 1 users." in hub_users.ok("import", path, "--skip-existing")
    assert hub_users.ok("initial-password", "ada") == first


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"ada,hunter2\n", "column 1 of the first line is none of: username, password"),
        (b"password\nhunter2\n", "no column 'username'"),
        (b"username,admin,username\n", "is there twice"),
        (b"username\n\xff\xfe\n", "not UTF-8"),
        (b'username,password\nada,"hunter2\n', "not CSV"),
    ],
)
def test_files_that_are_no_list_of_users(
    hub_users: Any, tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(content)
    done = hub_users("import", path)
    assert done.code == 1
    assert says in done.err
    assert "hunter2" not in done.err
    assert _users(hub_users) == {}


def test_a_missing_file(hub_users: Any, tmp_path: Path) -> None:
    done = hub_users("import", tmp_path / "none.csv")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "No such file" in done.err


def test_a_dry_run_says_who_would_come_and_changes_nothing(hub_users: Any, csv: Any) -> None:
    said = hub_users.ok("import", EXAMPLE, "--check")
    assert "line 4: alan  gets a one-time password\n" in said
    assert "line 2: grace  admin\n" in said and said.endswith("would be added. Nobody was.\n")
    assert "example of a long password" not in said
    assert _users(hub_users) == {} and hub_users.ok("initial-password") == ""
    bad = hub_users("import", csv("username,admin", "ada,maybe"), "--check")
    assert bad.code == 1 and "line 2: admin is neither" in bad.err


def test_one_time_passwords_are_a_table_to_hand_out(hub_users: Any, tmp_path: Path) -> None:
    hub_users.ok("import", EXAMPLE)
    path = tmp_path / "passwords.csv"
    assert "has 2 one-time passwords" in hub_users.ok("initial-password", "--csv", path)
    assert path.stat().st_mode & 0o777 == 0o600
    header, *lines = path.read_text().splitlines()
    assert header == "username,password"
    assert dict(line.split(",") for line in lines) == {
        name: hub_users.ok("initial-password", name).strip() for name in ("alan", "edsger")
    }
    assert hub_users.ok("initial-password", "--csv", "-") == path.read_text()
    again = hub_users("initial-password", "--csv", path)
    assert again.code == 1 and "is there already" in again.err
    # a list that is imported again adds nobody, and keeps the passwords
    assert hub_users.ok("import", EXAMPLE, "--skip-existing") == "Imported 0 users.\n"
    assert hub_users.ok("initial-password", "--csv", "-") == path.read_text()
