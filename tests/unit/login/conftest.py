"""The login as gunicorn runs it, and people with their browsers."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit import forms, running
from tests.kit.userdb import PASSWORD, Cluster, HubUsers, sources, users_table

ORIGIN = "https://hub.example.org:30088"
SECRET_KEY = "key-of-the-login-" * 3
TOKEN = "0123456789abcdef-token-of-jupyterlab"
SESSION = "__Host-hubstead-session"
FORM = "__Host-hubstead-form"

_addresses = itertools.count(1)


class Visitor(running.Browser):
    """What a person has of the login, behind the proxy."""

    password_page = "/auth/password"

    def __init__(self, socket: Path, address: str) -> None:
        self.socket = socket
        self.cookies: dict[str, str] = {}
        self.client = httpx.Client(
            # No TLS here, whose certificates take longer to read than all the rest.
            transport=httpx.HTTPTransport(verify=False, trust_env=False, uds=str(socket)),
            trust_env=False,
            base_url="http://login",
            # Or a login that stops would wait for what else comes over the connection.
            headers={"X-Forwarded-For": address, "Connection": "close"},
            timeout=60,
        )

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        # By hand, as httpx sends no Secure cookie over plain HTTP.
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookies} | kwargs.pop("headers", {})
        answer = self.client.request(method, path, headers=headers, **kwargs)
        for header in answer.headers.get_list("Set-Cookie"):
            for name, morsel in SimpleCookie(header).items():
                assert morsel["secure"] and morsel["httponly"] and morsel["path"] == "/"
                assert morsel["samesite"] == "Lax" and not morsel["domain"]
                self.cookies[name] = morsel.value
                if not morsel.value:
                    del self.cookies[name]
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, headers=headers)

    def post(self, page: str, action: str | None = None, **fields: str) -> httpx.Response:
        data = forms.hidden(self.get(page).text) | fields
        return self.request("POST", action or page, data=data, headers={"Origin": ORIGIN})

    def login(
        self, username: str, password: str = PASSWORD, page: str = "/auth/login"
    ) -> httpx.Response:
        return self.post(page, username=username, password=password)

    def logout(self) -> httpx.Response:
        return self.post("/auth/account", "/auth/logout")

    def check(self, **headers: str) -> httpx.Response:
        """What the proxy asks before each request of this browser."""
        return self.get("/internal/session", **headers)

    def is_logged_in(self) -> bool:
        return self.check().status_code == 204


class LoginService(running.Running[Visitor]):
    """A running login with a users table."""

    lets_in = 303
    #: From where the test's people come; another /64 for each, as wrong passwords of one add up.
    address = "198.51.100.1"

    def __init__(self, hub_users: HubUsers, directory: Path, **environment: str) -> None:
        self.hub_users = hub_users
        self.socket = directory / "login.sock"
        self.token_file = directory / "token"
        self.log = directory / "log"
        self.token_file.write_text(f"{TOKEN}\n")
        credentials = directory / "credentials"
        credentials.mkdir()
        (credentials / "users").write_text(hub_users.login_dsn.read_text())
        (credentials / "secret-key").write_text(f"{SECRET_KEY}\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": sources("userdb", "login"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CREDENTIALS_DIRECTORY": str(credentials),
            "HUBSTEAD_LOGIN_ORIGINS": f"{ORIGIN} https://other.example.org",
            "HUBSTEAD_LOGIN_TOKEN_FILE": str(self.token_file),
            "HUBSTEAD_LOGIN_BCRYPT_COST": "4",
        } | environment
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "gunicorn",
                "--config", "python:hubstead_login.gunicorn_config",
                "--bind", f"unix:{self.socket}",
                "hubstead_login.app:create_app()",
            ],
            env=self.environment,
            stdout=self.log.open("a"),
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def answers(self) -> bool:
        try:
            self.browser().get("/internal/health")
        except httpx.TransportError:
            return False
        return True

    def visitor(self, address: str = "") -> Visitor:
        return Visitor(self.socket, address or self.address)

    def browser(self) -> Visitor:
        return self.visitor()


@pytest.fixture(scope="session")
def login_service(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoginService]:
    """One login for all tests, with a database of its own; each test brings its own people."""
    hub_users = users_table(cluster, tmp_path_factory.mktemp("users"), "userdb_login")
    service = LoginService(hub_users, tmp_path_factory.mktemp("login"))
    with running.running(service, SECRET_KEY, TOKEN, "login-pass", "couldn't stop"):
        yield service


@pytest.fixture
def service(login_service: LoginService) -> Iterator[LoginService]:
    """The login, with nobody in the table."""
    with login_service.hub_users.owner() as owner:
        owner.execute("TRUNCATE users CASCADE")
    login_service.token_file.write_text(f"{TOKEN}\n")
    login_service.address = f"2001:db8:0:{next(_addresses):x}::1"
    yield login_service
