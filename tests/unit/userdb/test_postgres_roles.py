"""The operations on roles and databases, against a real PostgreSQL."""

from __future__ import annotations

import base64
import json

import psycopg
import pytest
import sqlalchemy

import hubstead.database as access
from hubstead.operations import postgres
from hubstead.operations.postgres import (
    ClusterState,
    database,
    fingerprint,
    login_role,
    scram_verifier,
)
from tests.kit.sites import site
from tests.kit.userdb import Cluster, HubUsers
from tests.unit.operations.support import commands

NAMES = ("op_owner", "op_reader", "op_stranger")


def state(cluster: Cluster) -> ClusterState:
    """What the fact would say."""
    with cluster.superuser("postgres") as connection:
        row = connection.execute(postgres._QUERY).fetchone()
    assert row
    return postgres.parse_cluster(json.dumps(row[0]))


def converge(cluster: Cluster, operation: object, **arguments: object) -> int:
    """Carry an operation out; returns how many statements it took."""
    sent = commands(operation, {postgres.Cluster: state(cluster)}, **arguments)
    with cluster.superuser("postgres") as connection:
        for command in sent:
            connection.execute(command.stdin or "")
    return len(sent)


@pytest.fixture(autouse=True)
def clean(cluster: Cluster) -> None:
    with cluster.superuser("postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS op_data")
        for name in NAMES:
            connection.execute(f"DROP ROLE IF EXISTS {name}")


@pytest.mark.parametrize("password", ["pencil", "0" * 64, "it's \\ odd\"; --"])
def test_one_logs_in_with_the_password_and_no_other(cluster: Cluster, password: str) -> None:
    assert converge(cluster, login_role, role="op_owner", password=password) == 1
    with psycopg.connect(cluster.dsn("op_owner", password, "postgres")) as connection:
        assert connection.pgconn.used_password
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(cluster.dsn("op_owner", password + "x", "postgres"))
    assert converge(cluster, login_role, role="op_owner", password=password) == 0


@pytest.mark.parametrize("password", ["p@ss/w ord'", "a\\' b%20+?#[&]=:;$\"{}"])
def test_the_services_log_in_with_a_password_from_the_environment(
    cluster: Cluster, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBSTEAD_POSTGRES_OP_OWNER_PASSWORD", password)
    monkeypatch.setattr(access, "SOCKETS", str(cluster.directory))
    monkeypatch.setattr(access, "ACCESS", {"op_owner": "postgres"})
    converge(cluster, login_role, role="op_owner", password=password)
    line, url = access.conninfo(site(), "op_owner"), access.url(site(), "op_owner")
    with psycopg.connect(line) as connection:
        assert connection.pgconn.used_password
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as hub:
        assert hub.scalar(sqlalchemy.text("SELECT current_user")) == "op_owner"
    engine.dispose()


def test_the_verifier_of_the_server_is_ours(cluster: Cluster) -> None:
    """A password that the server itself hashed is known again, and the strings are the same."""
    with cluster.superuser("postgres") as connection:
        connection.execute("CREATE ROLE op_owner LOGIN PASSWORD 'pencil'")
        row = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'op_owner'")
        ((stored,),) = row.fetchall()
    salt = stored.split("$")[1].split(":")[1]
    assert scram_verifier("pencil", base64.b64decode(salt)) == stored
    assert state(cluster).roles["op_owner"].fingerprint == fingerprint(stored)
    assert stored.rpartition("$")[2] not in repr(state(cluster))
    assert converge(cluster, login_role, role="op_owner", password="pencil") == 0


@pytest.mark.parametrize("drift", ["SUPERUSER", "CREATEDB", "NOLOGIN", "BYPASSRLS", "PASSWORD 'x'"])
def test_drift_of_a_role_is_mended_once(cluster: Cluster, drift: str) -> None:
    converge(cluster, login_role, role="op_owner", password="pencil")
    with cluster.superuser("postgres") as connection:
        connection.execute(f"ALTER ROLE op_owner {drift}")
    assert converge(cluster, login_role, role="op_owner", password="pencil") == 1
    assert converge(cluster, login_role, role="op_owner", password="pencil") == 0


def test_only_the_named_connect_to_a_database(cluster: Cluster) -> None:
    for name in NAMES:
        converge(cluster, login_role, role=name, password="pencil")
    arguments = {"database": "op_data", "owner": "op_owner", "connect": ["op_reader"]}
    assert converge(cluster, database, **arguments) == 3
    assert converge(cluster, database, **arguments) == 0
    for name in ("op_owner", "op_reader"):
        psycopg.connect(cluster.dsn(name, "pencil", "op_data")).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(cluster.dsn("op_stranger", "pencil", "op_data"))

    with cluster.superuser("postgres") as connection:
        connection.execute("GRANT CONNECT ON DATABASE op_data TO op_stranger, PUBLIC")
        connection.execute("ALTER DATABASE op_data OWNER TO op_reader")
    assert converge(cluster, database, **arguments) > 0
    assert converge(cluster, database, **arguments) == 0
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(cluster.dsn("op_stranger", "pencil", "op_data"))
    psycopg.connect(cluster.dsn("op_reader", "pencil", "op_data")).close()


@pytest.mark.parametrize("attributes", ["NOSUPERUSER", "SUPERUSER"])
def test_a_login_of_earlier_days_is_shut_out_for_good(
    cluster: Cluster, bare: HubUsers, attributes: str
) -> None:
    """Once the role of PostgreSQL took its right to connect in every run, and hub-users gave it."""

    def run(*readers: str) -> tuple[int, str]:
        """What the roles do in a run: statements, and the words of hub-users."""
        arguments = {"database": "userdb", "owner": "userdb_owner", "connect": readers}
        return converge(cluster, database, **arguments), bare.ok("migrate")

    settled = (0, '{"changes": []}\n')
    with cluster.superuser("postgres") as connection:
        # what a login is to do, the deploy says where one is wanted
        connection.execute(f"ALTER ROLE userdb_login {attributes}")
    try:
        run("userdb_reader", "userdb_login")
        statements, words = run("userdb_reader")
        assert (statements, words) == (1, settled[1])
        assert run("userdb_reader") == settled
    finally:
        with cluster.superuser("postgres") as connection:
            connection.execute("ALTER ROLE userdb_login NOSUPERUSER")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        bare.login()

    run("userdb_reader", "userdb_login")
    assert run("userdb_reader", "userdb_login") == settled
    with bare.login() as login:
        assert login.execute("SELECT count(*) FROM users").fetchone() == (0,)
