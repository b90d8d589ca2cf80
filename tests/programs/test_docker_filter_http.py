"""The filter before Docker as a server: a request is read in one way, or refused."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable

import pytest

from programs import docker_filter
from programs.docker_filter import Filter, RefusedError, Request
from tests.kit.docker import CREATE, IMAGE, OURS, POLICY, WANTED, Docker, changed


@pytest.fixture
def exchange() -> Callable[..., tuple[str, list[Request]]]:
    """Send bytes over a connection: what comes back, and what Docker was asked."""

    def send(*pieces: bytes, pause: float = 0) -> tuple[str, list[Request]]:
        docker = Docker(OURS)
        here, there = socket.socketpair()
        thread = threading.Thread(
            target=docker_filter.handle, args=(Filter(POLICY, docker), there), daemon=True
        )
        thread.start()
        with here:
            here.settimeout(20)
            received = b""
            try:
                for piece in pieces:
                    here.sendall(piece)
                    time.sleep(pause)
                while data := here.recv(65536):
                    received += data
            except (BrokenPipeError, ConnectionResetError):
                pass
        thread.join(20)
        assert not thread.is_alive()
        return received.decode(), docker.asked

    return send


Exchange = Callable[..., tuple[str, list[Request]]]
GET = b"GET /version HTTP/1.1\r\nHost: localhost\r\n"


def test_a_request_is_answered_and_the_connection_ends(exchange: Exchange) -> None:
    text, asked = exchange(GET + b"Connection: keep-alive\r\n\r\n")
    assert text.startswith("HTTP/1.1 200 OK\r\nConnection: close\r\n")
    assert [each.target for each in asked] == ["/version"]


def test_a_request_may_come_in_pieces(exchange: Exchange) -> None:
    body = json.dumps(WANTED).encode()
    head = f"POST {CREATE} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    _, (_, asked) = exchange(head[:9], head[9:], body[:99], body[99:], pause=0.02)
    assert json.loads(asked.body)["Image"] == IMAGE


SECOND = b"POST /containers/blog/start HTTP/1.1\r\nHost: x\r\n\r\n"


def test_what_follows_a_request_is_never_read(exchange: Exchange) -> None:
    """Neither pipelined, nor behind a body that is longer than it says."""
    _, asked = exchange(GET + b"\r\n" + SECOND)
    assert [each.target for each in asked] == ["/version"]
    body = json.dumps(WANTED).encode()
    head = f"POST {CREATE} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    _, asked = exchange(head + body + SECOND)
    assert [each.target for each in asked] == ["/v1.45/networks/hubstead", CREATE]


@pytest.mark.parametrize(
    "head",
    [
        GET + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        GET + b"Transfer-Encoding : chunked\r\n",
        GET + b"TRANSFER-encoding: chunked\r\n",
        GET + b"Content-Length: 0\r\nContent-Length: 5\r\n",
        GET + b"Content-Length: 0\r\ncontent-length: 0\r\n",
        GET + b"Content-Length: +5\r\n",
        GET + b"Content-Length: 0x5\r\n",
        GET + b"Content-Length: -1\r\n",
        GET + b"Content-Length: 99999999\r\n",
        GET + b"X: a\r\n Content-Length: 5\r\n",
        GET + b"X: a\nContent-Length: 5\r\n",
        GET + b"X: a\x00b\r\n",
        GET + b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
        GET + b"Connection: keep-alive, Upgrade\r\n",
        GET + b"Expect: 100-continue\r\n",
        GET + b"no colon\r\n",
        b"GET /version HTTP/1.0\r\n",
        b"GET /version HTTP/2.0\r\n",
        b"GET /version\r\n",
        b"GET  /version HTTP/1.1\r\n",
        b"GET\t/version HTTP/1.1\r\n",
        b"get /version HTTP/1.1\r\n",
        b"GET http://localhost/version HTTP/1.1\r\n",
        b"GET /version HTTP/1.1 \r\n",
        b"\r\nGET /version HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"GET /v\xc3\xa9rsion HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n",
    ],
)
def test_a_request_that_may_be_read_otherwise_is_refused(exchange: Exchange, head: bytes) -> None:
    text, asked = exchange(head + b"\r\n" + SECOND)
    assert text.startswith("HTTP/1.1 400 ") or text == ""
    assert asked == []


def test_the_answer_says_why_and_the_journal_has_a_line(
    exchange: Exchange, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps(changed("HostConfig.Privileged\n<0>x", True)).encode()
    head = f"POST {CREATE} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    text, _ = exchange(head + body)
    assert text.startswith("HTTP/1.1 403 Forbidden\r\n")
    assert (
        "filter before Docker: HostConfig.Privileged"
        in json.loads(text.split("\r\n\r\n")[1])["message"]
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"<4>refused POST {CREATE}: HostConfig.Privileged\\n<0>x is nothing")


def test_who_is_slow_is_sent_away(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_filter, "PATIENCE", 0.3)
    begun = time.monotonic()
    text, asked = exchange(GET)
    assert (text, asked) == ("", []) and time.monotonic() - begun < 5
    # not even one who says something now and then
    text, asked = exchange(*[GET, *[b"X-%d: a\r\n" % number for number in range(9)]], pause=0.1)
    assert (text, asked) == ("", [])


def test_a_head_has_an_end(exchange: Exchange) -> None:
    text, asked = exchange(GET + b"".join(b"X-%d: a\r\n" % number for number in range(9999)))
    assert asked == [] and ("400" in text or text == "")


def test_docker_may_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_filter, "DOCKER", "/nonexistent/docker.sock")
    with pytest.raises(RefusedError, match="Docker does not answer") as caught:
        docker_filter.ask_docker(Request("GET", "/version", b""))
    assert caught.value.status == 503
