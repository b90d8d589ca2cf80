"""A throwaway PostgreSQL, hub-users against it, and a Hub with both."""

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
import requests

SOURCE = Path(__file__).parents[3] / "services/userdb/src"
sys.path.insert(0, str(SOURCE))

OWNER_PASSWORD = "owner's \\ pass word"
READER_PASSWORD = "reader-pass"
LOGIN_PASSWORD = "login-pass"

# Of the people who log in to the test's Hub.
PASSWORD = "correct horse"
NEW_PASSWORD = "battery staple"


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


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
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


def _fresh_database(cluster: Cluster, name: str = "userdb") -> None:
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
            "PYTHONPATH": str(SOURCE),
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


def _hub_users(cluster: Cluster, directory: Path, dbname: str = "userdb") -> HubUsers:
    hub_users = HubUsers(cluster, directory)
    for path, line in (
        (hub_users.owner_dsn, cluster.dsn("userdb_owner", OWNER_PASSWORD, dbname)),
        (hub_users.reader_dsn, cluster.dsn("userdb_reader", READER_PASSWORD, dbname)),
        (hub_users.login_dsn, cluster.dsn("userdb_login", LOGIN_PASSWORD, dbname)),
    ):
        path.touch(0o600)
        path.write_text(f"{line}\n")
    return hub_users


def _migrate(hub_users: HubUsers) -> None:
    from hubstead_userdb import schema

    with hub_users.owner() as connection:
        schema.migrate(connection)


@pytest.fixture
def bare(cluster: Cluster, tmp_path: Path, database_left_by: list[str]) -> HubUsers:
    """hub-users beside an empty database."""
    _fresh_database(cluster)
    database_left_by.clear()
    return _hub_users(cluster, tmp_path)


@pytest.fixture(scope="session")
def database_left_by() -> list[str]:
    """Which fixture made the database that is there: making a new one is slow."""
    return []


@pytest.fixture
def hub_users(cluster: Cluster, tmp_path: Path, database_left_by: list[str]) -> HubUsers:
    """hub-users with an empty table. A test that leaves more than rows behind takes ``bare``."""
    hub_users = _hub_users(cluster, tmp_path)
    if database_left_by == ["hub_users"]:
        with hub_users.owner() as connection:
            connection.execute("TRUNCATE users CASCADE")
    else:
        _fresh_database(cluster)
        database_left_by[:] = ["hub_users"]
        _migrate(hub_users)
    return hub_users


@pytest.fixture(scope="session")
def free_ports() -> tuple[int, int]:
    """Two loopback ports that nothing listens on."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


class Browser:
    """A person's browser: keeps cookies, fills in the forms it was shown, runs no script."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.url + path, allow_redirects=False, timeout=20)

    def post(self, path: str, **fields: str) -> requests.Response:
        """Send the form at ``path`` with what its hidden fields hold."""
        page = self.get(path).text
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
        (action,) = re.findall(r'<form[^>]* action=[\'"]([^\'"]*)[\'"]', page)
        return self.session.post(
            self.url + unescape(action),
            data={name: unescape(value) for name, value in hidden.items()} | fields,
            allow_redirects=False,
            timeout=30,
        )

    def login(
        self, username: str, password: str = PASSWORD, next_url: str = ""
    ) -> requests.Response:
        query = f"?next={next_url}" if next_url else ""
        return self.post(f"/hub/login{query}", username=username, password=password)

    def change_password(
        self, current: str, new: str, again: str | None = None, path: str = "", **fields: str
    ) -> requests.Response:
        return self.post(
            path or "/hub/change-password",
            password=current,
            new_password=new,
            new_password_again=new if again is None else again,
            **fields,
        )

    def is_logged_in(self) -> bool:
        return self.get("/hub/home").status_code == 200

    def api(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Call the REST API as the Hub's own pages do."""
        return self.session.request(
            method,
            self.url + "/hub/api" + path,
            headers={"X-XSRFToken": self.session.cookies.get("_xsrf", path="/hub/") or ""},
            timeout=20,
            **kwargs,
        )


class Hub:
    """A running JupyterHub with its users table."""

    def __init__(self, hub_users: Any, directory: Path, ports: tuple[int, int]) -> None:
        self.hub_users = hub_users
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.log = directory / "log"
        environment = hub_users.environment | {
            "TEST_HUB_URL": self.url,
            "TEST_PUBLIC_URL": f"http://127.0.0.1:{ports[1]}",
            "TEST_READER_DSN": str(hub_users.reader_dsn),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", Path(__file__).with_name("hub_config.py")],
            cwd=directory,
            env=environment,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> None:
        """Until the Hub answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if Browser(self.url).get("/hub/health").ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)

    @staticmethod
    def eventually(condition: Callable[[], bool], seconds: float = 15) -> None:
        """Check until true: the Hub looks at the table once a second in these tests."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def browser(self) -> Browser:
        return Browser(self.url)

    def person(self, name: str, *options: str) -> Browser:
        """Add a user, return their browser."""
        self.hub_users.ok("add", name, "--password-stdin", *options, stdin=f"{PASSWORD}\n")
        return self.browser()

    def logged_in(self, name: str, *options: str) -> Browser:
        """Add a user, return a browser in which they are logged in."""
        browser = self.person(name, *options)
        assert browser.login(name).status_code == 302
        return browser


@pytest.fixture(scope="session")
def hub(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, free_ports: tuple[int, int]
) -> Iterator[Hub]:
    """One Hub for all tests, with a database of its own; each test brings its own people."""
    _fresh_database(cluster, "userdb_hub")
    hub_users = _hub_users(cluster, tmp_path_factory.mktemp("users"), "userdb_hub")
    _migrate(hub_users)
    hub = Hub(hub_users, tmp_path_factory.mktemp("hub"), free_ports)
    try:
        hub.wait()
        hub.person("ada")
        yield hub
    finally:
        hub.stop()
    log = hub.log.read_text()
    assert "Traceback" not in log
    assert PASSWORD not in log and NEW_PASSWORD not in log
