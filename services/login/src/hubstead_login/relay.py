"""Websockets to JupyterLab that end with their session.

The proxy asks for a session when a websocket opens and never again. So upgrades go through this
relay, which asks the login before it connects and then every 20 seconds, and closes the websocket
when the session has ended.

It holds no secret and reaches no database: the login's answer brings JupyterLab's token. Each
direction hands one message on before it reads the next, so a slow reader slows the writer down and
nothing piles up here.
"""

import argparse
import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp import ClientSession, UnixConnector, WSMsgType, web
from multidict import CIMultiDict
from yarl import URL

from hubstead_login import COOKIE_HEADER, SECONDS_HEADER, TOKEN_HEADER

#: Seconds between two questions to the login about an open websocket.
CHECK_SECONDS = 20
#: Bytes of one message. JupyterLab's own limit for what it is sent is lower.
MAX_MESSAGE = 100 * 1024 * 1024
_MAX_CONNECTIONS = 2000
#: For the login's answer, and for a last word to a slow client.
_TIMEOUT = 10
#: For JupyterLab's handshake, which waits for a kernel that starts (its kernel_info_timeout: 60).
_HANDSHAKE = 90

# Of this hop only (RFC 9110 section 7.6.1, RFC 6455 section 4.1), or replaced by ours.
_NOT_FORWARDED = frozenset(
    {
        "authorization", "connection", "content-length", "cookie", "keep-alive",
        "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
        "sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-key",
        "sec-websocket-protocol", "sec-websocket-version",
    }
)  # fmt: skip

# What JupyterLab's page makes of the end (@jupyterlab/services, KernelConnection): after 1000 it is
# disconnected until someone reconnects it; after any other than 1001 it comes back by itself, and
# without a session it would tell, wrongly, that the kernel died.
_SESSION_ENDED = aiohttp.WSCloseCode.OK
_RESTART = aiohttp.WSCloseCode.SERVICE_RESTART

# Codes that stand for the lack of one and must not be sent (RFC 6455 section 7.4.1).
_UNSENDABLE = {0: 1000, 1005: 1000, 1006: 1011, 1015: 1011}

_log = logging.getLogger("hubstead-login-relay")

# Text stays bytes: nothing here looks into it.
Upstream = aiohttp.ClientWebSocketResponse[Literal[False]]
Downstream = web.WebSocketResponse[Literal[False]]


@dataclass(frozen=True)
class Permit:
    """What the login says about a live session."""

    token: str = field(repr=False)
    #: Those that are not the login's, as a header
    cookies: str = field(repr=False)
    seconds: int


@dataclass(frozen=True)
class End:
    """Why a websocket ends, as both sides are told."""

    code: int
    reason: bytes = b""


class Relay:
    """The relay's application.

    :param login: the login's Unix socket.
    :param jupyterlab: JupyterLab's.
    """

    def __init__(self, login: Path, jupyterlab: Path) -> None:
        self._sockets = (login, jupyterlab)
        self._open: set[Downstream] = set()

    def application(self) -> web.Application:
        """What aiohttp runs."""
        application = web.Application()
        application.cleanup_ctx.append(self._clients)
        application.on_shutdown.append(self._close_all)
        application.router.add_get("/{path:.*}", self._answer)
        return application

    async def _clients(self, _: web.Application) -> AsyncIterator[None]:
        login, jupyterlab = self._sockets
        async with (
            ClientSession(
                connector=UnixConnector(str(login)),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
            ) as self._login,
            ClientSession(
                # No limit: a websocket keeps its connection.
                connector=UnixConnector(str(jupyterlab), limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as self._jupyterlab,
        ):
            yield

    async def _close_all(self, _: web.Application) -> None:
        ends = [websocket.close(code=_RESTART) for websocket in self._open]
        await asyncio.gather(*ends, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise web.HTTPUpgradeRequired
        if len(self._open) >= _MAX_CONNECTIONS:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "30"})
        permit = await self._permit(request)
        try:
            async with asyncio.timeout(_HANDSHAKE):
                upstream = await self._connect(request, permit)
        except aiohttp.WSServerHandshakeError as error:
            # JupyterLab's own no: there is no such kernel, for example.
            return web.Response(status=error.status if error.status >= 400 else 502)
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("cannot reach JupyterLab: %s", type(error).__name__)
            raise web.HTTPBadGateway from None
        async with upstream:
            return await self._join(request, upstream, permit)

    async def _permit(self, request: web.Request) -> Permit:
        """Ask the login about the request's session.

        :raises HTTPException: 401 or 403 if it has none; 503 if the login cannot tell.
        """
        headers = {
            name: request.headers[name] for name in ("Cookie", "Origin") if name in request.headers
        }
        try:
            async with self._login.get(
                "http://login/internal/session", headers=headers, allow_redirects=False
            ) as answer:
                if answer.status == 204:
                    return Permit(
                        answer.headers[TOKEN_HEADER],
                        answer.headers[COOKIE_HEADER],
                        int(answer.headers[SECONDS_HEADER]),
                    )
                status = answer.status
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("the login does not answer: %s", type(error).__name__)
            status = 503
        if status == 401:
            raise web.HTTPUnauthorized
        if status == 403:
            raise web.HTTPForbidden
        raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"})

    async def _connect(self, request: web.Request, permit: Permit) -> Upstream:
        if not request.raw_path.startswith("/"):
            raise web.HTTPBadRequest
        headers = CIMultiDict(
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in _NOT_FORWARDED
        )
        headers["Authorization"] = f"token {permit.token}"
        headers["Cookie"] = permit.cookies
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        return await self._jupyterlab.ws_connect(
            URL(f"http://jupyterlab{request.raw_path}", encoded=True),
            headers=headers,
            protocols=[name.strip() for name in offered.split(",") if name.strip()],
            autoping=False,
            max_msg_size=MAX_MESSAGE,
            decode_text=False,
        )

    async def _join(
        self, request: web.Request, upstream: Upstream, permit: Permit
    ) -> web.StreamResponse:
        downstream: Downstream = web.WebSocketResponse(
            protocols=[upstream.protocol] if upstream.protocol else [],
            autoping=False,
            compress=False,
            max_msg_size=MAX_MESSAGE,
            decode_text=False,
        )
        await downstream.prepare(request)
        self._open.add(downstream)
        tasks = [
            asyncio.create_task(work)
            for work in (
                _pass_on(downstream, upstream),
                _pass_on(upstream, downstream),
                self._end_of_session(request, permit),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            end = done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._open.discard(downstream)
        if request.transport is not None:
            # Closing waits until everything is sent, which a client that does not read can prevent.
            asyncio.get_running_loop().call_later(_TIMEOUT, request.transport.abort)
        await asyncio.gather(_close(downstream, end), _close(upstream, end))
        return downstream

    async def _end_of_session(self, request: web.Request, permit: Permit) -> End:
        """Return when the session has ended.

        A login that does not answer ends nothing: it may be restarting. The session's own time is
        known from the beginning, and is kept then as well.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + permit.seconds
        while (left := deadline - loop.time()) > 0:
            await asyncio.sleep(min(CHECK_SECONDS, left))
            try:
                await self._permit(request)
            except web.HTTPServiceUnavailable:
                continue
            except web.HTTPException:
                break
        return End(_SESSION_ENDED, b"The session has ended.")


async def _pass_on(source: Upstream | Downstream, target: Upstream | Downstream) -> End:
    """Hand messages on, one at a time, until one side closes."""
    while True:
        try:
            message = await source.receive()
            if message.type in {WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG}:
                await target.send_frame(message.data, message.type)
            elif message.type is WSMsgType.CLOSE:
                return End(
                    _UNSENDABLE.get(message.data, message.data), (message.extra or "").encode()
                )
            else:
                # Lost, or against the protocol; for a message too large the code is 1009.
                code = source.close_code or aiohttp.WSCloseCode.ABNORMAL_CLOSURE
                return End(_UNSENDABLE.get(code, code))
        except (aiohttp.ClientError, OSError):
            return End(aiohttp.WSCloseCode.INTERNAL_ERROR)


async def _close(websocket: Upstream | Downstream, end: End) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT):
            await websocket.close(code=end.code, message=end.reason)
    except (aiohttp.ClientError, OSError) as error:
        _log.info("a websocket was lost while it was closed: %s", type(error).__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the relay until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="hubstead-login-relay", description="Relay the websockets of logged-in people."
    )
    parser.add_argument("--login", type=Path, required=True, help="the login's Unix socket")
    parser.add_argument("--jupyterlab", type=Path, required=True, help="JupyterLab's Unix socket")
    parser.add_argument(
        "--listen", type=Path, help="Unix socket to listen on, where systemd passes none"
    )
    options = parser.parse_args(arguments)
    passed = _passed_socket()
    if passed is None and options.listen is None:
        parser.error("systemd passed no socket: give --listen")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    web.run_app(
        Relay(options.login, options.jupyterlab).application(),
        sock=passed,
        path=None if passed else str(options.listen),
        access_log=None,
        print=None,
        shutdown_timeout=5,
    )


def _passed_socket() -> socket.socket | None:
    """The socket of the unit's .socket (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    return socket.socket(fileno=3)


if __name__ == "__main__":
    main()
