"""No login at all: people come with tokens that another application makes for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from jupyterhub import orm
from jupyterhub.auth import NullAuthenticator
from jupyterhub.handlers.base import BaseHandler
from tornado import web

from hubstead_hub import sessions
from hubstead_hub.may_stay import Ruled, may_refuse

#: What is common to accounts that the Hub's API makes
KIND = "hub"


class NoLoginHandler(BaseHandler):
    """Says so, where JupyterHub 6.1.1 answers 404."""

    def get(self) -> None:
        raise web.HTTPError(
            403, "There is no login here. Come by the application that this service belongs to."
        )

    post = get


class TokenOnly(Ruled, NullAuthenticator):
    """Whoever the API made, and the rules do not block."""

    @property
    def _db(self) -> Any:
        app: Any = self.parent
        return app.db

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        return [("/login", NoLoginHandler)]

    async def authenticate(self, handler: Any, data: Any = None) -> None:
        return None

    async def refresh_user(self, user: Any, handler: Any = None) -> bool:
        may_refuse(handler)
        return not self.rules.now.blocks(user.name)

    async def account(self, name: str) -> str | None:
        """A user of the Hub's, told from the next one of that name by when it was made."""
        user = self._db.query(orm.User).filter_by(name=name).one_or_none()
        return f"{KIND}.{user.id}_{user.created:%Y%m%d%H%M%S%f}" if user else None

    async def delete_user(self, user: Any) -> None:
        """Whom a program removes leaves no files to the next one of that name (LEAVING).

        Raises what these raise, and the user stays.
        """
        account = await self.account(user.name)
        for leave in sessions.LEAVING:
            await leave(user, account)
        self.marks.set({user.name: None})
        super().delete_user(user)  # type: ignore[no-untyped-call]

    async def standing(self, names: Iterable[str], active: Collection[Any]) -> dict[str, str]:
        """The mark of each user, without an account: with the user of before all of it ended."""
        blocked = self.rules.now.blocks
        return {name: "-" if blocked(name) else "-in" for name in names}
