"""While the Hub's database is away people are told so, and stay logged in; starts go on after it.

JupyterHub 6.1.1 takes who cannot be looked up for nobody: it sends people to the login form, and
tells servers and programs that their tokens are none. Of a start in between it says that the server
is ready, and leads nobody there until it looks at all routes, every five minutes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub import user as jupyterhub_user
from jupyterhub.handlers import base
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError, SQLAlchemyError
from tornado import web

from hubstead_hub.later import Waiting

#: Seconds after which a page looks again
AGAIN = 5

#: Not typed, and to be changed here
_BaseHandler: Any = base.BaseHandler
_User: Any = jupyterhub_user.User


class DatabaseAway(Waiting):
    """Nobody can be looked up."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "One moment, please",
            "The database of this service does not answer. What runs in your server goes on, and "
            "you stay logged in.",
            AGAIN,
        )


def say_so_while_the_database_is_away() -> None:
    """Answer 503 to whoever cannot be looked up, and where the database ends in between."""
    find, resolve = _BaseHandler.get_current_user, _BaseHandler._resolve_roles_and_scopes

    async def get_current_user(self: Any) -> Any:
        try:
            return await find(self)
        except SQLAlchemyError as error:
            self.db.rollback()
            # BaseHandler.prepare would keep it to itself, after a page of log
            self._not_looked_up, self._jupyterhub_user = error, None
            return None

    def _resolve_roles_and_scopes(self: Any) -> None:
        resolve(self)
        error = self.__dict__.pop("_not_looked_up", None)
        if error:
            raise DatabaseAway from error

    def send_error(self: Any, status_code: int = 500, **options: Any) -> None:
        error = options.get("exc_info", (None, None))[1]
        if _is_away(error):
            self.db.rollback()
            error = DatabaseAway()
            status_code, options["exc_info"] = 503, (DatabaseAway, error, None)
        if isinstance(error, DatabaseAway):
            # the page knows nobody, and would set a cookie that those which are open do not know
            self._xsrf_token = b""
        web.RequestHandler.send_error(self, status_code, **options)

    _BaseHandler.get_current_user = get_current_user
    _BaseHandler._resolve_roles_and_scopes = _resolve_roles_and_scopes
    _BaseHandler.send_error = send_error


def finish_starts_after_the_database_was_away() -> None:
    """Have a start wait for the database where that goes away, and begin anew where it has to."""
    spawn = _User.spawn

    async def spawn_until_it_is_noted(
        self: Any, server_name: str = "", *arguments: Any, **options: Any
    ) -> Any:
        while True:
            try:
                started = await spawn(self, server_name, *arguments, **options)
                break
            except SQLAlchemyError as error:
                if not _is_away(error):
                    raise
            await _back(self, server_name)
            # JupyterHub has tried that, without a database
            await self.stop(server_name)
            self.spawners[server_name]._spawn_pending = True
        # it is asked for the user's name before people are led to the server
        await _back(self, server_name)
        return started

    _User.spawn = spawn_until_it_is_noted


async def _back(user: Any, server_name: str) -> None:
    """Wait until the database answers; the server counts as starting meanwhile."""
    while True:
        try:
            user.spawners[server_name]._spawn_pending = True
            user.db.execute(text("SELECT 1"))
            return
        except SQLAlchemyError:
            user.db.rollback()
            await asyncio.sleep(1)


def _is_away(error: BaseException | None) -> bool:
    """Whether it is the database that failed, and not what it was asked."""
    if isinstance(error, DBAPIError):
        # among others what psycopg raises when it cannot connect
        away = error.connection_invalidated or isinstance(error, OperationalError)
        # a new one, whose tables the Hub makes when it starts (undefined_table)
        return away or getattr(error.orig, "sqlstate", None) == "42P01"
    return isinstance(error, PendingRollbackError)
