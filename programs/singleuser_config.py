# Written by Hubstead: part of the users' image. What a person's own configuration says comes after.
"""A large body is read from somebody who has logged in, and from nobody else.

Tornado 6 reads a request to its end, into memory, before Jupyter Server 2 asks whose it is: five
strangers with 500 MB each ended somebody's server, and every kernel in it.
"""

from collections.abc import Awaitable
from typing import Any

from jupyter_server.base.handlers import AuthenticatedHandler
from tornado import httputil, web

#: Bytes that are read from anybody
SMALL = 1 << 20


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
