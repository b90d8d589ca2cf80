"""A throwaway PostgreSQL, and hub-users against it."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psycopg

SERVICES = Path(__file__).parents[2] / "services"
sys.path[:0] = [str(SERVICES / service / "src") for service in ("userdb", "login", "hub")]

OWNER_PASSWORD = "owner's \\ pass word"
READER_PASSWORD = "reader-pass"
LOGIN_PASSWORD = "login-pass"

# Of the people who log in to the test's Hub.
PASSWORD = "correct horse"
NEW_PASSWORD = "battery staple"


def sources(*services: str) -> str:
    """PYTHONPATH with just these of our packages."""
    return os.pathsep.join(str(SERVICES / service / "src") for service in services)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "no PostgreSQL: apt-get install postgresql"
    return found[-1].parent


class Cluster:
    """A PostgreSQL of our own on a Unix socket, run by an unprivileged user."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.binaries = _binaries()
        # PostgreSQL refuses to run as root; Debian's package brings the user postgres.
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(directory, self.user)
        directory.chmod(0o755)
        pwfile = directory / "pw"
        pwfile.write_text("super")
        self._run(
            "initdb", "--no-sync", "-U", "super", "--pwfile", pwfile, "-A", "scram-sha-256",
            "-E", "UTF8", "--locale", "C.UTF-8", "-D", self.data,
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start, and wait until connections are answered."""
        settings = (
            f"-c unix_socket_directories={self.directory} -c listen_addresses='' "
            "-c fsync=off -c log_statement=all"
        )
        log = self.directory / "log"
        self._run("pg_ctl", "-D", self.data, "-l", log, "-w", "-o", settings, "start")

    def stop(self) -> None:
        """Stop at once, as a crash would."""
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *args: str | Path) -> None:
        subprocess.run(
            [self.binaries / program, *args],
            user=self.user,
            cwd=self.directory,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def dsn(self, user: str, password: str, dbname: str = "userdb") -> str:
        """A libpq connection line."""
        return psycopg.conninfo.make_conninfo(
            host=str(self.directory), user=user, password=password, dbname=dbname
        )

    def superuser(self, dbname: str = "userdb") -> psycopg.Connection:
        """A connection that may do anything."""
        return psycopg.connect(self.dsn("super", "super", dbname), autocommit=True)


@contextmanager
def throwaway_cluster() -> Iterator[Cluster]:
    """A PostgreSQL with the roles of a deployment, gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="userdb-"))
    cluster = Cluster(directory)
    try:
        with cluster.superuser("postgres") as connection:
            for role, password in (
                ("userdb_owner", OWNER_PASSWORD),
                ("userdb_reader", READER_PASSWORD),
                ("userdb_login", LOGIN_PASSWORD),
            ):
                connection.execute(
                    psycopg.sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                        psycopg.sql.Identifier(role), psycopg.sql.Literal(password)
                    )
                )
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory)


def fresh_database(cluster: Cluster, name: str = "userdb") -> None:
    """Make the database anew, as a deploy does."""
    with cluster.superuser("postgres") as connection:
        for statement in ("DROP DATABASE IF EXISTS {} WITH (FORCE)", "CREATE DATABASE {} OWNER {}"):
            connection.execute(
                psycopg.sql.SQL(statement).format(
                    psycopg.sql.Identifier(name), psycopg.sql.Identifier("userdb_owner")
                )
            )


@dataclass
class Done:
    """What a run of hub-users printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass
class HubUsers:
    """The command, with the options that keep it in the test's directory."""

    cluster: Cluster
    directory: Path

    @property
    def owner_dsn(self) -> Path:
        return self.directory / "owner.dsn"

    @property
    def reader_dsn(self) -> Path:
        return self.directory / "reader.dsn"

    @property
    def login_dsn(self) -> Path:
        return self.directory / "login.dsn"

    @property
    def initial(self) -> Path:
        return self.directory / "initial-passwords"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": sources("userdb"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HUB_USERS_DSN_FILE": str(self.owner_dsn),
            "HUB_USERS_INITIAL_PASSWORDS": str(self.initial),
            "HUB_USERS_BCRYPT_COST": "4",
        }

    def __call__(self, *args: str | Path, stdin: str = "") -> Done:
        """Run within this process, which is ten times faster."""
        from hubstead_userdb.cli import main

        out, err = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, self.environment),
            patch("sys.stdin", io.StringIO(stdin)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                code = main([str(argument) for argument in args])
            except SystemExit as usage:
                code = int(usage.code or 0)
        return Done(code, out.getvalue(), err.getvalue())

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "hubstead_userdb", *args],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ok(self, *args: str | Path, stdin: str = "") -> str:
        """Run, expect success, return the output."""
        done = self(*args, stdin=stdin)
        assert done.code == 0, done
        return done.out

    def owner(self) -> psycopg.Connection:
        """A connection of the table's owner."""
        return psycopg.connect(self.owner_dsn.read_text(), autocommit=True)

    def reader(self) -> psycopg.Connection:
        """A connection with the rights of the Hub."""
        return psycopg.connect(self.reader_dsn.read_text(), autocommit=True)

    def login(self) -> psycopg.Connection:
        """A connection with the rights of JupyterLab's login."""
        return psycopg.connect(self.login_dsn.read_text(), autocommit=True)


def hub_users_of(cluster: Cluster, directory: Path, dbname: str = "userdb") -> HubUsers:
    """hub-users with its connection lines in the directory."""
    hub_users = HubUsers(cluster, directory)
    for path, line in (
        (hub_users.owner_dsn, cluster.dsn("userdb_owner", OWNER_PASSWORD, dbname)),
        (hub_users.reader_dsn, cluster.dsn("userdb_reader", READER_PASSWORD, dbname)),
        (hub_users.login_dsn, cluster.dsn("userdb_login", LOGIN_PASSWORD, dbname)),
    ):
        path.touch(0o600)
        path.write_text(f"{line}\n")
    return hub_users


def migrate(hub_users: HubUsers) -> None:
    """Make the table."""
    from hubstead_userdb import schema

    with hub_users.owner() as connection:
        schema.migrate(connection)


def users_table(cluster: Cluster, directory: Path, dbname: str) -> HubUsers:
    """hub-users with an empty table in a database made anew."""
    fresh_database(cluster, dbname)
    hub_users = hub_users_of(cluster, directory, dbname)
    migrate(hub_users)
    return hub_users
