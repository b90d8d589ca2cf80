"""Roles and databases: the statements, and that no password leaves in clear."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import subprocess
from pathlib import Path

import pytest
from pyinfra.api import FactProcessError, OperationValueError

from hubstead.operations import postgres_upgrade
from hubstead.operations.postgres import (
    Cluster,
    ClusterState,
    CutShort,
    DatabaseState,
    Found,
    FoundState,
    RoleState,
    database,
    fingerprint,
    let_in,
    login_role,
    parse_found,
    scram_verifier,
    verifies,
    whole,
)
from tests.unit.operations.support import Command, ask, commands

PASSWORD = "pencil"
STORED = fingerprint(scram_verifier(PASSWORD, b"sixteen bytes ok"))
ATTRIBUTES = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
PSQL = (
    "runuser -u postgres -- env PGOPTIONS='-c log_statement=none -c log_min_duration_statement=-1'"
    " psql -Xq -d postgres -v ON_ERROR_STOP=1 -f -"
)


def for_role(state: RoleState | None) -> list[Command]:
    roles = {"hub": state} if state else {}
    return commands(login_role, {Cluster: ClusterState(roles)}, role="hub", password=PASSWORD)


def for_database(state: DatabaseState | None, connect: tuple[str, ...] = ()) -> list[str]:
    facts = {Cluster: ClusterState({}, {"hub": state} if state else {})}
    sent = commands(database, facts, database="hub", owner="owner", connect=connect)
    assert {command.line for command in sent} <= {PSQL}
    return [command.stdin or "" for command in sent]


def test_a_role_as_it_should_be_is_left_alone() -> None:
    assert for_role(RoleState(login=True, elevated=False, fingerprint=STORED)) == []


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        (None, "CREATE"),
        (RoleState(login=True, elevated=False, fingerprint=None), "ALTER"),
        (
            RoleState(True, False, fingerprint(scram_verifier("another", b"sixteen bytes ok"))),
            "ALTER",
        ),
        (RoleState(True, False, "md5c2b1f0d640e5cb31f92ca320f60c1853"), "ALTER"),
    ],
)
def test_a_password_is_set_as_a_verifier(state: RoleState | None, verb: str) -> None:
    (command,) = for_role(state)
    assert command.line == PSQL
    assert command.stdin is not None
    start = f'{verb} ROLE "hub" {ATTRIBUTES} PASSWORD \'SCRAM-SHA-256$4096:'
    assert command.stdin.startswith(start)
    assert PASSWORD not in command.stdin
    assert verifies(PASSWORD, fingerprint(command.stdin.split("'")[1]))


def test_two_verifiers_of_one_password_differ() -> None:
    (first,), (second,) = for_role(None), for_role(None)
    assert first != second


@pytest.mark.parametrize(
    "state", [RoleState(login=False, elevated=False, fingerprint=STORED),
              RoleState(login=True, elevated=True, fingerprint=STORED)],
)  # fmt: skip
def test_attributes_are_mended_without_touching_the_password(state: RoleState) -> None:
    (command,) = for_role(state)
    assert command.stdin == f'ALTER ROLE "hub" {ATTRIBUTES};'


def test_a_database_is_closed_as_soon_as_it_is_there() -> None:
    assert for_database(None, connect=("reader",)) == [
        """CREATE DATABASE "hub" OWNER "owner" TEMPLATE template0 ENCODING 'UTF8';""",
        'REVOKE ALL ON DATABASE "hub" FROM PUBLIC;',
        'GRANT CONNECT ON DATABASE "hub" TO "reader";',
    ]


def test_a_database_as_it_should_be_is_left_alone() -> None:
    assert for_database(DatabaseState("owner", frozenset({"reader"})), ("reader",)) == []


def test_rights_and_owner_that_drifted_are_mended() -> None:
    assert for_database(DatabaseState("eve", frozenset({"PUBLIC", "eve"})), ("reader",)) == [
        'ALTER DATABASE "hub" OWNER TO "owner";',
        'REVOKE ALL ON DATABASE "hub" FROM PUBLIC;',
        'REVOKE ALL ON DATABASE "hub" FROM "eve";',
        'GRANT CONNECT ON DATABASE "hub" TO "reader";',
    ]


@pytest.mark.parametrize("name", ['hub"; DROP DATABASE x; --', "Hub", "", "a" * 64])
def test_a_name_that_is_not_plain_is_refused(name: str) -> None:
    with pytest.raises(OperationValueError, match="no plain PostgreSQL name"):
        commands(login_role, {Cluster: ClusterState()}, role=name, password=PASSWORD)


def test_the_example_of_the_standard() -> None:
    """RFC 7677, section 3: the proof and the signature there are made from these keys."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    stored, server = scram_verifier("pencil", salt).rsplit("$", 1)[1].split(":")
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = hmac.digest(base64.b64decode(server), message, "sha256")
    assert base64.b64encode(signature).decode() == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    stored_key = base64.b64decode(stored)
    signature = hmac.digest(stored_key, message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key


@pytest.mark.parametrize(
    "stored",
    [None, "", "md5abc", "SCRAM-SHA-256$x", STORED[:-4] + "0000", STORED.replace("4096", "4097")],
)
def test_what_is_no_fingerprint_of_it_does_not_verify(stored: str | None) -> None:
    assert not verifies(PASSWORD, stored)


def test_a_cluster_is_read_from_the_answer() -> None:
    answer = [
        '{"roles" : { "postgres" : {"login" : true, "fingerprint" : null, "elevated" : true},'
        ' "hub" : {"login" : true, "fingerprint" : "' + STORED + '", "elevated" : false} },'
        ' "databases" : {'
        ' "postgres" : {"owner" : "postgres", "connect" : ["PUBLIC"]}, "hub" : {"owner" : "hub",'
        ' "connect" : []} }}'
    ]
    assert Cluster().process(answer) == ClusterState(
        {"postgres": RoleState(True, True, None), "hub": RoleState(True, False, STORED)},
        {
            "postgres": DatabaseState("postgres", frozenset({"PUBLIC"})),
            "hub": DatabaseState("hub", frozenset()),
        },
    )


def test_no_answer_is_an_empty_cluster_and_a_strange_one_an_error() -> None:
    assert Cluster().process([""]) == ClusterState()
    with pytest.raises(FactProcessError):
        Cluster().process(["psql: error"])


@pytest.fixture
def making(tmp_path: Path) -> Path:
    """A server's directories, and a pg_createcluster that says that it was called."""
    for name in ("etc/15/main", "data/15/main/base/5", "data/15/main/pg_tblspc", "bin"):
        (tmp_path / name).mkdir(parents=True)
    program = tmp_path / "bin/pg_createcluster"
    program.write_text(f'#!/bin/sh\nls -A {tmp_path}/*/15; echo "made $*"\n')
    program.chmod(0o755)
    return tmp_path


def mend(making: Path) -> str:
    (command,) = commands(whole, {CutShort: True}, version=15)
    paths = {"/etc/postgresql": making / "etc", "/var/lib/postgresql": making / "data"}
    line = f"PATH={making}/bin:$PATH; {command.line}"
    for path, mine in paths.items():
        line = line.replace(path, str(mine))
    return Command(line).run()


def test_a_cluster_that_was_made_is_left_alone(making: Path) -> None:
    assert commands(whole, {CutShort: False}, version=15) == []
    (making / "etc/15/main/conf.d").mkdir()
    (making / "etc/15/main/postgresql.conf").touch()
    # it was made since somebody looked, by the package
    assert mend(making) == ""


@pytest.mark.parametrize("there", ["etc/15/main/conf.d/x", "etc/15/main/postgresql.conf", "x"])
def test_a_cluster_whose_making_was_cut_is_made_anew(making: Path, there: str) -> None:
    (making / there).parent.mkdir(exist_ok=True)
    (making / there).touch()
    for name in ("1247", "1247_fsm", "PG_VERSION", "pg_filenode.map", "16383.1"):
        (making / "data/15/main/base/5" / name).touch()
    said = mend(making)
    assert said.endswith("made -u postgres 15 main\n") and "main" not in said.split("made")[0]


@pytest.mark.parametrize("data", ["base/16384/1247", "base/5/16384.1", "pg_tblspc/16390"])
def test_a_cluster_that_holds_something_stays(making: Path, data: str) -> None:
    kept = making / "data/15/main" / data
    kept.parent.mkdir(exist_ok=True)
    kept.touch()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        mend(making)
    assert "holds databases: put it back" in caught.value.stderr
    assert kept.exists() and (making / "etc/15/main").exists()


LINES, BLOCK = (
    "local hub hub peer\n",
    ("# BEGIN Hubstead (postgres_hba)\nlocal hub hub peer\n# END Hubstead\n"),
)
THEIRS = "# the shop\nlocal shop all trust\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (THEIRS, BLOCK + THEIRS),
        (f"# mine first\n{BLOCK.replace('peer', 'md5')}{THEIRS}", f"# mine first\n{BLOCK}{THEIRS}"),
        ("# Written by Hubstead (postgres_hba).\nlocal all postgres peer\n", BLOCK + "default\n"),
        (None, BLOCK + "default\n"),
    ],
)
def test_our_lines_come_first_and_theirs_stay(
    tmp_path: Path, before: str | None, after: str
) -> None:
    file = tmp_path / "pg_hba.conf"
    if before is not None:
        file.write_text(before)
        file.chmod(0o604)
    facts = {Found: FoundState()}
    arguments = {"configuration": str(tmp_path), "lines": LINES, "default": "default\n"}
    (command,) = commands(let_in, facts, **arguments)
    command.run()
    assert file.read_text() == after
    assert file.stat().st_mode & 0o777 == (0o640 if before is None else 0o604)
    assert [path.name for path in tmp_path.iterdir()] == ["pg_hba.conf"]
    found = ask(Found(), str(tmp_path))
    assert (found.access, found.whole) == (BLOCK, False)
    assert commands(let_in, {Found: found}, **arguments) == []


def test_what_is_found_of_postgresql() -> None:
    found = parse_found([
        "cluster 17/main 5432 online", "cluster 15/main 5433 down,binaries_missing", "ours",
        "there",
        "line # BEGIN Hubstead (postgres_hba)", "line # END Hubstead",
        "setting listen_addresses localhost", "setting listen_addresses *", "answers",
    ])  # fmt: skip
    assert found == FoundState(
        {"17/main": (5432, "online"), "15/main": (5433, "down,binaries_missing")},
        there=True,
        ours=True,
        access="# BEGIN Hubstead (postgres_hba)\n# END Hubstead\n",
        answers=True,
        settings={"listen_addresses": "*"},
    )


def test_an_upgrade_that_ended_while_the_next_run_waited_for_it_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the unit goes on when its run is cut: what is left is to start the cluster."""
    clusters = "printf '%s\\n' '15 main 5433 down' '17 main 5432 online'"
    for name, does in {"pg_lsclusters": clusters, "systemctl": 'echo "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = postgres_upgrade._UPGRADE.replace(postgres_upgrade._NOTE, str(tmp_path / "note"))
    done = subprocess.run(["sh", "-c", script, "sh", "15", "17", "5432"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"start postgresql@17-main\n"), done.stderr
