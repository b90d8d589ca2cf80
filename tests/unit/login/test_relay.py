"""Websockets through the relay, to something that stands in for JupyterLab."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp import ClientSession, UnixConnector, WSMsgType, web
from yarl import URL

from hubstead_login import relay as relay_module

from .conftest import ORIGIN, SESSION, TOKEN, LoginService, Visitor

SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"


class FakeLab:
    """Echoes what it is sent, and notes how it was asked."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.ended: list[int | None] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.path == "/missing":
            raise web.HTTPNotFound
        websocket = web.WebSocketResponse(
            protocols=[SUBPROTOCOL], autoping=False, max_msg_size=0, heartbeat=None
        )
        await websocket.prepare(request)
        with suppress(ConnectionError):
            while request.path == "/flood":
                await websocket.send_bytes(b"x" * 1_000_000)
        async for message in websocket:
            if message.data == "bye":
                await websocket.close(code=4321, message=b"see you")
            elif message.type is WSMsgType.PING:
                await websocket.pong(message.data)
            else:
                await websocket.send_frame(
                    message.data.encode() if isinstance(message.data, str) else message.data,
                    message.type,
                )
        self.ended.append(websocket.close_code)
        return websocket


class Way:
    """The relay between a browser and the stand-in."""

    def __init__(
        self, lab: FakeLab, relay: web.AppRunner, client: ClientSession, person: Visitor
    ) -> None:
        self.lab = lab
        self.relay = relay
        self.client = client
        self.person = person

    def connect(self, path: str = "/api/kernels/1/channels", **kwargs: Any) -> Any:
        headers = {"Cookie": f"_xsrf=1; {SESSION}={self.person.cookies.get(SESSION, '')}; a=b"}
        headers |= kwargs.pop("headers", {})
        return self.client.ws_connect(
            URL(f"http://relay{path}", encoded=True), headers=headers, autoping=False, **kwargs
        )


@pytest.fixture
def through(
    service: LoginService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Way], Awaitable[None]]], None]:
    """Run a coroutine with a relay for ada, who is logged in."""
    monkeypatch.setattr(relay_module, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(relay_module, "_TIMEOUT", 2)

    @asynccontextmanager
    async def setting() -> AsyncIterator[Way]:
        lab = FakeLab()
        jupyterlab = web.Application()
        jupyterlab.router.add_get("/{path:.*}", lab.answer)
        application = relay_module.Relay(service.socket, tmp_path / "lab").application()
        runners = web.AppRunner(jupyterlab, shutdown_timeout=1), web.AppRunner(application)
        for runner, socket in zip(runners, ("lab", "relay"), strict=True):
            await runner.setup()
            await web.UnixSite(runner, str(tmp_path / socket)).start()
        async with ClientSession(connector=UnixConnector(str(tmp_path / "relay"))) as client:
            yield Way(lab, runners[1], client, ada)
        for runner in reversed(runners):
            await runner.cleanup()

    async def run(test: Callable[[Way], Awaitable[None]]) -> None:
        async with asyncio.timeout(30), setting() as way:
            await test(way)

    ada = service.logged_in("ada")
    return lambda test: asyncio.run(run(test))


def test_messages_pass_as_they_are(through: Any) -> None:
    async def test(way: Way) -> None:
        async with way.connect("/ws?a=%2Fb", protocols=["x", SUBPROTOCOL]) as websocket:
            assert websocket.protocol == SUBPROTOCOL
            await websocket.send_str("grüße")
            assert (await websocket.receive()).data == "grüße"
            await websocket.send_bytes(bytes(range(256)))
            assert (await websocket.receive()).data == bytes(range(256))
            await websocket.ping(b"still there?")
            message = await websocket.receive()
            assert (message.type, message.data) == (WSMsgType.PONG, b"still there?")
            await websocket.close(code=1001)
        while not way.lab.ended:
            await asyncio.sleep(0.01)
        assert way.lab.ended == [1001]
        (request,) = way.lab.requests
        assert request.raw_path == "/ws?a=%2Fb"
        assert request.headers["Authorization"] == f"token {TOKEN}"
        assert request.headers["Cookie"] == "_xsrf=1; a=b"

    through(test)


def test_large_messages_pass_and_too_large_ones_end_the_websocket(
    through: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(way: Way) -> None:
        async with way.connect(max_msg_size=0) as websocket:
            await websocket.send_bytes(b"x" * 20_000_000)
            assert len((await websocket.receive()).data) == 20_000_000
        monkeypatch.setattr(relay_module, "MAX_MESSAGE", 1_000_000)
        async with way.connect() as websocket:
            with suppress(ConnectionError):
                await websocket.send_bytes(b"x" * 1_000_001)
            message = await websocket.receive()
            assert message.type in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR}

    through(test)


def test_a_restart_of_the_relay_says_that_it_is_one(through: Any) -> None:
    async def test(way: Way) -> None:
        async with way.connect() as websocket:
            stop = asyncio.create_task(way.relay.cleanup())
            assert (await _closed(websocket))[0] == 1012
            await stop

    through(test)


def test_no_session_no_websocket(through: Any) -> None:
    async def test(way: Way) -> None:
        for headers, status in (
            ({"Cookie": ""}, 401),
            ({"Cookie": f"{SESSION}=forged"}, 401),
            ({"Authorization": f"token {TOKEN}", "Cookie": ""}, 401),
            ({"Origin": "https://evil.example"}, 403),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await way.connect(f"/?token={TOKEN}", headers=headers)
            assert refused.value.status == status
        assert way.lab.requests == []
        async with way.connect(headers={"Origin": ORIGIN}) as websocket:
            assert not websocket.closed
        async with way.client.get("http://relay/lab") as answer:
            assert answer.status == 426

    through(test)


async def _closed(websocket: Any) -> tuple[int, str]:
    async with asyncio.timeout(5):
        while (message := await websocket.receive()).type is WSMsgType.BINARY:
            pass
    assert message.type is WSMsgType.CLOSE
    return message.data, message.extra


def _expire(owner: psycopg.Connection, seconds: int) -> None:
    owner.execute(
        "UPDATE login_sessions SET expires_at = now() + make_interval(secs => %s)", [seconds]
    )


@pytest.mark.parametrize("end", ["logout", "disabled", "expired"])
def test_open_websockets_end_with_the_session(
    through: Any, service: LoginService, end: str
) -> None:
    async def test(way: Way) -> None:
        async with way.connect() as idle, way.connect("/flood") as busy:
            await asyncio.sleep(0.5)
            assert not idle.closed
            if end == "logout":
                await asyncio.to_thread(way.person.logout)
            elif end == "disabled":
                await asyncio.to_thread(service.hub_users.ok, "disable", "ada", "--force")
            else:
                with service.hub_users.owner() as owner:
                    _expire(owner, 0)
            assert await _closed(idle) == (1000, "The session has ended.")
            assert await _closed(busy) == (1000, "The session has ended.")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await way.connect()

    through(test)


def test_the_time_is_kept_while_the_login_is_down_and_nothing_else_ends(
    through: Any, service: LoginService
) -> None:
    async def test(way: Way) -> None:
        with service.hub_users.owner() as owner:
            _expire(owner, 3)
        async with way.connect() as websocket:
            os.kill(service.process.pid, signal.SIGTERM)
            await asyncio.to_thread(service.process.wait)
            await websocket.send_str("on and on")
            assert (await websocket.receive()).data == "on and on"
            assert (await _closed(websocket))[0] == 1000

    try:
        through(test)
    finally:
        service.start()
        service.wait()


def test_a_client_that_does_not_read_is_cut_as_well(through: Any) -> None:
    async def test(way: Way) -> None:
        async with way.connect("/flood") as websocket:
            websocket._reader._protocol.pause_reading()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(way.person.logout)
            server = way.relay.server
            assert server is not None
            while not way.lab.ended or server.connections:
                await asyncio.sleep(0.05)

    through(test)


def test_the_end_that_jupyterlab_gives_is_passed_on(through: Any) -> None:
    async def test(way: Way) -> None:
        async with way.connect() as websocket:
            await websocket.send_str("bye")
            assert await _closed(websocket) == (4321, "see you")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await way.connect("/missing")
        assert refused.value.status == 404

    through(test)


def test_without_jupyterlab_or_login_the_answer_says_so(
    service: LoginService, tmp_path: Path
) -> None:
    """The relay as a process of its own, on a socket of its own."""
    ada = service.logged_in("ada")

    async def ask(cookie: str) -> int:
        async with ClientSession(connector=UnixConnector(str(tmp_path / "relay"))) as client:
            for _ in range(100):
                try:
                    await client.ws_connect("http://relay/", headers={"Cookie": cookie})
                except aiohttp.WSServerHandshakeError as error:
                    return error.status
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.1)
        raise AssertionError("the relay does not answer")

    for login, status in ((service.socket, 502), (tmp_path / "none", 503)):
        relay = subprocess.Popen(
            [
                sys.executable, "-m", "hubstead_login.relay", "--login", login,
                "--jupyterlab", tmp_path / "none", "--listen", tmp_path / "relay",
            ],
            env=service.environment,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            assert asyncio.run(ask(f"{SESSION}={ada.cookies[SESSION]}")) == status
        finally:
            relay.terminate()
            log = relay.communicate(timeout=20)[1]
        assert relay.returncode == 0
        assert TOKEN not in log and ada.cookies[SESSION] not in log
