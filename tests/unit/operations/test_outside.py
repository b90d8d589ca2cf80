"""The service from the control machine: what is asked for, and how its certificate is judged."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hubstead.operations import outside
from hubstead.operations.outside import Page
from tests.kit.certificates import issue

NAME = "hub.example.org"


class Login(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/hub/login" else 404)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Be silent."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A service with the certificate tmp_path/cert.pem."""
    issue(tmp_path / "cert.pem", tmp_path / "key.pem", [NAME])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Login)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The host at hand is this machine; what it is warned of."""
    said: list[str] = []
    monkeypatch.setattr(outside, "host", SimpleNamespace(name="@local", connector=object()))
    monkeypatch.setattr(outside, "logger", SimpleNamespace(warning=said.append, info=said.append))
    return said


def test_a_page_that_is_there(port: int, tmp_path: Path) -> None:
    authority = (tmp_path / "cert.pem").read_text()
    assert outside.reason(Page(NAME, "/hub/login", 200), port, authority) is None


def test_another_status(port: int, tmp_path: Path) -> None:
    authority = (tmp_path / "cert.pem").read_text()
    reason = outside.reason(Page(NAME, "/", 200), port, authority)
    assert reason == f"https://{NAME}:{port}/ at 127.0.0.1: it says 404 and not 200"


def test_another_name(port: int, tmp_path: Path) -> None:
    authority = (tmp_path / "cert.pem").read_text()
    reason = outside.reason(Page("other.example.org", "/hub/login", 200), port, authority)
    assert reason and "is not valid for" in reason


def test_another_authority_than_the_hosts_own(port: int, tmp_path: Path) -> None:
    issue(tmp_path / "other.pem", tmp_path / "key.pem", [NAME])
    authority = (tmp_path / "other.pem").read_text()
    reason = outside.reason(Page(NAME, "/hub/login", 200), port, authority)
    assert reason and "certificate verify failed" in reason


def test_an_authority_that_this_machine_does_not_know_is_a_warning(
    port: int, local: list[str]
) -> None:
    assert outside.reason(Page(NAME, "/hub/login", 200), port, None) is None
    assert any("does not know the authority" in line for line in local)


def test_nobody_listens(port: int) -> None:
    reason = outside.reason(Page(NAME, "/hub/login", 200), 1, None)
    assert reason and "Connection refused" in reason
