"""A Hub with the users table, and people with their browsers."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.kit import forms, running
from tests.kit.userdb import PASSWORD, Cluster, HubUsers, sources, users_table


def two_ports() -> tuple[int, int]:
    """Loopback ports that nothing listens on."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture(scope="session")
def free_ports() -> tuple[int, int]:
    return two_ports()


class Browser(running.Browser):
    """What a person has of the Hub's pages."""

    password_page = "/hub/change-password"

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.url + path, allow_redirects=False, timeout=20)

    def post(self, page: str, **fields: str) -> requests.Response:
        text = self.get(page).text
        return self.session.post(
            self.url + forms.action(text),
            data=forms.hidden(text) | fields,
            allow_redirects=False,
            timeout=30,
        )

    def login(
        self, username: str, password: str = PASSWORD, next_url: str = ""
    ) -> requests.Response:
        query = f"?next={next_url}" if next_url else ""
        return self.post(f"/hub/login{query}", username=username, password=password)

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


class Hub(running.Running[Browser]):
    """A running JupyterHub with its users table."""

    lets_in = 302

    def __init__(
        self,
        hub_users: HubUsers,
        directory: Path,
        ports: tuple[int, int],
        database: str = "",
        configuration: str = "hub_config.py",
        **further: str,
    ) -> None:
        self.hub_users = hub_users
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.directory, self.log = directory, directory / "log"
        environment = hub_users.environment | {
            "PYTHONPATH": sources("userdb", "hub"),
            "TEST_HUB_URL": self.url,
            "TEST_PUBLIC_URL": f"http://127.0.0.1:{ports[1]}",
            "TEST_READER_DSN": str(hub_users.reader_dsn),
            **({"TEST_HUB_DATABASE": database} if database else {}),
            **further,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", Path(__file__).with_name(configuration)],
            cwd=directory,
            env=environment,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def answers(self) -> bool:
        try:
            return self.browser().get("/hub/health").ok
        except requests.ConnectionError:
            return False

    @staticmethod
    def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
        """Check until true: the Hub looks at the table once a second in these tests.

        Other tests may have the machine's cores meanwhile.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def browser(self) -> Browser:
        return Browser(self.url)


@pytest.fixture(scope="session")
def hub(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, free_ports: tuple[int, int]
) -> Iterator[Hub]:
    """One Hub for all tests, with a database of its own; each test brings its own people."""
    hub_users = users_table(cluster, tmp_path_factory.mktemp("users"), "userdb_hub")
    hub = Hub(hub_users, tmp_path_factory.mktemp("hub"), free_ports)
    with running.running(hub):
        hub.person("ada")
        yield hub
