"""A Hub with the users table, and people with their browsers."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.kit.userdb import (
    NEW_PASSWORD,
    PASSWORD,
    Cluster,
    HubUsers,
    fresh_database,
    hub_users_of,
    migrate,
    sources,
)


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

    def __init__(self, hub_users: HubUsers, directory: Path, ports: tuple[int, int]) -> None:
        self.hub_users = hub_users
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.log = directory / "log"
        environment = hub_users.environment | {
            "PYTHONPATH": sources("userdb", "hub"),
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
    fresh_database(cluster, "userdb_hub")
    hub_users = hub_users_of(cluster, tmp_path_factory.mktemp("users"), "userdb_hub")
    migrate(hub_users)
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
