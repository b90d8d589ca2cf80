# Written by Hubstead: part of the users' image. What a person's own configuration says comes after.
"""What Jupyter Server leaves open to strangers, and to those who are no longer let in.

- A large body is read from somebody who has logged in, and from nobody else. Tornado 6 reads a
  request to its end, into memory, before Jupyter Server 2 asks whose it is: five strangers with
  500 MB each ended somebody's server, and every kernel in it. A small one has two minutes.
- A websocket is closed soon after the Hub stops to know the visitor: a kernel or a terminal asks
  once, as it opens.
- The Hub's answers are asked for again every 15 s (HubOAuth.cache_max_age), and outlive that where
  the Hub is away: work goes on while it restarts.
- Who has filled what their files may take of the disk (EDQUOT) reads that, and what to do.
- Nobody is told the version who has not logged in; `_xsrf` goes over HTTPS alone.
- Pages of origins that the settings name, and of no other, show a server in a frame and read what
  their scripts ask it with a token.
- Folders of a person's groups are in the file browser, too.

And what it leaves out of what it tells the Hub: a kernel that computes and a terminal's process
that runs are activity, also where they say nothing and nobody looks.
"""

import errno
import os
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jupyter_server import __version__
from jupyter_server._tz import utcnow
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import (
    APIHandler,
    APIVersionHandler,
    AuthenticatedHandler,
    JupyterHandler,
)
from jupyter_server.serverapp import ServerWebApplication
from jupyterhub.services.auth import HubAuth, _ExpiringDict
from jupyterhub.singleuser.extension import JupyterHubSingleUser
from tornado import httputil, web, websocket
from tornado.ioloop import PeriodicCallback

#: Bytes that are read from anybody, and seconds in which they have to be here
SMALL, PATIENCE = 1 << 20, 120


def is_large(headers: httputil.HTTPHeaders) -> bool:
    """By its length, or because it has none (RFC 9112, 6)."""
    length = headers.get("Content-Length", "0")
    return "Transfer-Encoding" in headers or not length.isdigit() or int(length) > SMALL


class Delegate(web._HandlerDelegate):
    """What a request is passed to, as it comes in (tornado.httputil.HTTPMessageDelegate)."""

    def headers_received(
        self, start_line: Any, headers: httputil.HTTPHeaders
    ) -> Awaitable[None] | None:
        if is_large(headers):
            return self._large(start_line, headers)
        connection: Any = self.connection
        connection.set_body_timeout(PATIENCE)
        return super().headers_received(start_line, headers)

    async def _large(self, start_line: Any, headers: httputil.HTTPHeaders) -> None:
        if not await self._is_known():
            # what still comes of the body is dropped as it comes
            refusal = httputil.HTTPHeaders({"Content-Length": "0", "Connection": "close"})
            connection: Any = self.connection
            connection.write_headers(httputil.ResponseStartLine("", 403, "Forbidden"), refusal)
            connection.finish()
            return
        ahead = super().headers_received(start_line, headers)
        if ahead is not None:
            await ahead

    async def _is_known(self) -> bool:
        if not issubclass(self.handler_class, AuthenticatedHandler):
            return False
        handler: Any = self.handler_class(self.application, self.request, **self.handler_kwargs)
        try:
            user = handler.identity_provider.get_user(handler)
            return (await user if isinstance(user, Awaitable) else user) is not None
        except web.HTTPError:
            return False


def delegate(
    application: web.Application,
    request: Any,
    target_class: Any,
    target_kwargs: Any = None,
    path_args: Any = None,
    path_kwargs: Any = None,
) -> Delegate:
    """In the place of tornado.web.Application.get_handler_delegate."""
    return Delegate(application, request, target_class, target_kwargs, path_args, path_kwargs)


application_class: Any = web.Application
application_class.get_handler_delegate = delegate

#: Websockets that are open, and seconds from one look at them to the next
OPEN: set[Any] = set()
LOOK = 15

_WebSocketHandler: Any = websocket.WebSocketHandler
_serve = _WebSocketHandler.get


async def serve(handler: Any, *arguments: Any, **options: Any) -> None:
    """In the place of tornado.websocket.WebSocketHandler.get, which lasts as long as they do."""
    if not isinstance(handler, AuthenticatedHandler):
        await _serve(handler, *arguments, **options)
        return
    if not looks.is_running():
        looks.start()
    OPEN.add(handler)
    try:
        await _serve(handler, *arguments, **options)
    finally:
        OPEN.discard(handler)


async def look() -> None:
    """Close the websockets of whom the Hub no longer lets in here."""
    for handler in list(OPEN):
        if not await _may_stay(handler):
            handler.close(1008, "logged out")


async def _may_stay(handler: Any) -> bool:
    hub = handler.identity_provider.hub_auth
    try:
        user = await hub.user_for_token(
            hub.get_token(handler) or "", session_id=hub.get_session_id(handler), sync=False
        )
    except web.HTTPError:
        # the Hub is away, for longer than its answers are kept
        return True
    return bool(user) and hub.check_scopes(hub.access_scopes, user)


looks = PeriodicCallback(look, LOOK * 1000)
_WebSocketHandler.get = serve

_expiring: Any = _ExpiringDict
#: Seconds for which what the Hub last said of somebody holds without the Hub
WHILE_AWAY = 600
ANSWERS: Any = _expiring(WHILE_AWAY)

_HubAuth: Any = HubAuth
_ask = _HubAuth._check_hub_authorization


async def ask(
    self: Any, url: str, api_token: str, cache_key: str | None = None, use_cache: bool = True
) -> Any:
    """In the place of jupyterhub.services.auth.HubAuth._check_hub_authorization."""
    try:
        answer = await _ask(self, url, api_token, cache_key=cache_key, use_cache=use_cache)
    except web.HTTPError:
        answer = ANSWERS.get(cache_key)
        if answer is None:
            raise
        self.cache[cache_key] = answer
        return answer
    if cache_key and answer is not ANSWERS.get(cache_key):
        # not out of the cache
        ANSWERS[cache_key] = answer
    return answer


_HubAuth._check_hub_authorization = ask


FULL = (
    "Your files take all of the disk that they may. Nothing more can be saved until you have"
    " removed some, in the file browser or in a terminal. File > Hub Control Panel says how much"
    " you have."
)
_APIHandler: Any = APIHandler
_write_error = _APIHandler.write_error


def is_full(error: BaseException | None) -> bool:
    """Whether what went wrong began with a quota that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EDQUOT:
            return True
        error = error.__cause__ or error.__context__
    return False


def write_error(handler: Any, status_code: int, **options: Any) -> None:
    """In the place of APIHandler.write_error: JupyterLab shows the message that it writes."""
    if is_full((options.get("exc_info") or (None, None))[1]):
        full = web.HTTPError(status_code, FULL)
        options["exc_info"] = type(full), full, None
    _write_error(handler, status_code, **options)


_APIHandler.write_error = write_error


async def tell_version(handler: Any) -> None:
    """In the place of APIVersionHandler.get, which tells it to everybody."""
    handler.finish({"version": __version__} if handler.current_user else {})


_APIVersionHandler: Any = APIVersionHandler
_for_strangers_too: Any = allow_unauthenticated
_APIVersionHandler.get = _for_strangers_too(tell_version)

#: Seconds for which what is busy counts without a sign of life, where nobody says otherwise
BUSY_MAX = 86400

_ServerWebApplication: Any = ServerWebApplication
_last_activity = _ServerWebApplication.last_activity


def last_activity(application: Any) -> datetime:
    """In the place of ServerWebApplication.last_activity, to which a cell that computes for an hour
    without a word is an hour without activity.
    """
    config = application.settings["serverapp"].config
    sources: list[datetime] = [_last_activity(application)]
    allowed = timedelta(seconds=int(config.Hubstead.get("busy_max", BUSY_MAX)))
    for said, is_busy in (*kernels(application), *terminals(application)):
        sources.append(min(utcnow(), said + allowed) if is_busy else said)
    return max(sources)


def kernels(application: Any) -> Iterator[tuple[datetime, bool]]:
    """When each kernel last said something, and whether it computes."""
    manager = application.settings["kernel_manager"]
    for kernel in map(manager.get_kernel, manager.list_kernel_ids()):
        yield kernel.last_activity, kernel.execution_state == "busy"


def terminals(application: Any) -> Iterator[tuple[datetime, bool]]:
    """When something was last typed or printed in each terminal, and whether more than its shell is
    in the foreground (tcgetpgrp(3)).
    """
    manager = application.settings.get("terminal_manager")
    for terminal in list(manager.terminals.values()) if manager else []:
        # its shell may have ended
        with suppress(OSError):
            shell = terminal.ptyproc
            yield terminal.last_activity, os.tcgetpgrp(shell.fd) != shell.pid


_ServerWebApplication.last_activity = last_activity

_JupyterHubSingleUser: Any = JupyterHubSingleUser
_notify_activity = _JupyterHubSingleUser.notify_activity


async def notify_activity(extension: Any) -> None:
    """In the place of JupyterHubSingleUser.notify_activity, which gives up for a whole interval
    where the Hub is away for a minute.
    """
    while True:
        with suppress(TimeoutError):
            await _notify_activity(extension)
            return


_JupyterHubSingleUser.notify_activity = notify_activity

#: Origins of pages that may show a server in a frame and call it (hub_frame_origins)
ORIGINS = os.environ.get("JUPYTERHUB_FRAME_ORIGINS", "").split()
_AuthenticatedHandler: Any = AuthenticatedHandler
_JupyterHandler: Any = JupyterHandler
_set_defaults = _AuthenticatedHandler.set_default_headers


def set_default_headers(handler: Any) -> None:
    """In the place of AuthenticatedHandler.set_default_headers: errors name the origin too, which
    Jupyter Server 2 does in answers that are none.
    """
    _set_defaults(handler)
    # whose answers have no headers any more
    if not isinstance(handler, websocket.WebSocketHandler):
        handler.add_header("Vary", "Origin")
        origin = handler.request.headers.get("Origin")
        if origin in ORIGINS:
            handler.set_header("Access-Control-Allow-Origin", origin)


def set_cors_headers(handler: Any) -> None:
    """In the place of JupyterHandler.set_cors_headers, which lets every origin read what comes of a
    token.
    """


#: Where folders of groups are, and how somebody finds them among the own files
SHARED, LINK = Path("/shared"), Path.home() / "shared"


def show_folders_of_groups() -> None:
    """A link beside the person's files while there are any; what is called so already stays."""
    # a place without any is in everybody's server where the host's systemd runs it
    folders = list(SHARED.iterdir()) if SHARED.is_dir() else []
    # a full disk, for one
    with suppress(OSError):
        if folders and not os.path.lexists(LINK):
            LINK.symlink_to(SHARED)
        elif not folders and LINK.is_symlink() and LINK.readlink() == SHARED:
            LINK.unlink()
    if any(os.access(each, os.W_OK) for each in folders):
        # what one teacher saves there the others go on with; nobody else sees the own files
        os.umask(0o002)


show_folders_of_groups()

c: Any = globals()["get_config"]()
c.ServerApp.tornado_settings = {"xsrf_cookie_kwargs": {"secure": True}}
if ORIGINS:
    _AuthenticatedHandler.set_default_headers = set_default_headers
    _JupyterHandler.set_cors_headers = set_cors_headers
    c.ServerApp.tornado_settings = {
        "xsrf_cookie_kwargs": {"secure": True, "samesite": "None"},
        "headers": {"Content-Security-Policy": f"frame-ancestors {' '.join(ORIGINS)}"},
    }
# also what an extension forgot to protect
c.ServerApp.allow_unauthenticated_access = False
# an extension that is installed by a page runs with all that a person has
c.LabApp.extension_manager = "readonly"
# what is in the trash still takes room, and a full disk has none for its records
c.FileContentsManager.delete_to_trash = False
