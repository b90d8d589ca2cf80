"""More people start their servers than may start at once: each in the order in which they came.

JupyterHub 6.1.1 refuses whoever comes while `concurrent_spawn_limit` servers are starting, with a
page that stays as it is, and takes whoever comes first once one has started.
"""

from __future__ import annotations

import time
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers import base
from tornado import web

from hubstead_hub.later import TryLater, Waiting

#: Not typed, and to be changed here
_BaseHandler: Any = base.BaseHandler

HEADING = "Your server starts soon"
#: Seconds after which a program may ask again, and a page where no server may run any more
LATER, FULL = 30, 20


class Line:
    """Who waits for a start, in the order in which they came.

    Whoever does not ask again has left: a closed page keeps nobody waiting for long.
    """

    def __init__(self) -> None:
        #: Of each server of somebody: the spawner, and until when it is waited for
        self._waiting: dict[tuple[str, str], tuple[Any, float]] = {}

    def ask(self, key: tuple[str, str], spawner: Any) -> tuple[int, int]:
        """How many are before this one, and the seconds after which to ask again."""
        self._tidy()
        self._waiting.setdefault(key, (spawner, 0))
        before = list(self._waiting).index(key)
        # the more wait, the longer it takes, and the more would ask
        seconds = min(5 + before // 10, 15)
        self._waiting[key] = spawner, time.monotonic() + 2 * seconds + 10
        return before, seconds

    def leave(self, key: tuple[str, str]) -> None:
        """Whose turn it was."""
        self._waiting.pop(key, None)

    def waiting(self) -> int:
        """How many wait."""
        self._tidy()
        return len(self._waiting)

    def _tidy(self) -> None:
        now = time.monotonic()
        self._waiting = {
            key: (spawner, until)
            for key, (spawner, until) in self._waiting.items()
            if now < until and not spawner.active
        }


def start_in_turn() -> None:
    """Let as many servers start at once as `concurrent_spawn_limit` says, and others wait in line.

    People have a page that asks again by itself; whoever uses the API is refused as before, and
    comes after those.
    """
    spawn, line = _BaseHandler.spawn_single_user, Line()

    async def spawn_single_user(
        self: Any, user: Any, server_name: str = "", display_name: str = "", options: Any = None
    ) -> Any:
        seconds = _wait(self, line, user, server_name)
        try:
            started = await spawn(self, user, server_name, display_name, options)
            line.leave((user.name, server_name))
            return started
        except web.HTTPError as error:
            if error.status_code != 429 or isinstance(error, TryLater):
                raise
            if hasattr(error, "headers"):
                # others came while this one's account was looked at
                raise _later(self, "Others are starting their servers.", seconds) from error
            raise _later(
                self,
                "As many servers run at the moment as may run at the same time. Yours starts when "
                "another one has ended.",
                FULL,
            ) from error

    _BaseHandler.spawn_single_user = spawn_single_user


def _wait(handler: Any, line: Line, user: Any, server_name: str) -> int:
    """Raise unless it is this one's turn; the seconds after which to ask again where it is not."""
    limit = handler.concurrent_spawn_limit
    if not limit:
        return LATER
    counts = handler.users.count_active_users()
    free = limit - counts["spawn_pending"] - counts["proxy_pending"]
    if isinstance(handler, APIHandler):
        if line.waiting() >= free > 0:
            raise TryLater(429, "Others are waiting to start their servers.", LATER)
        return LATER
    spawner = user.spawners[server_name]
    if spawner.pending:
        # JupyterHub has words for that
        return LATER
    before, seconds = line.ask((user.name, server_name), spawner)
    if before >= free:
        raise _later(handler, f"Many people are starting their servers. {_place(before)}", seconds)
    return seconds


def _place(before: int) -> str:
    if not before:
        return "You are next."
    return f"{before} {'person is' if before == 1 else 'people are'} before you."


def _later(handler: Any, message: str, seconds: int) -> TryLater:
    if isinstance(handler, APIHandler):
        return TryLater(429, message, max(seconds, LATER))
    return Waiting(429, HEADING, message, seconds)
