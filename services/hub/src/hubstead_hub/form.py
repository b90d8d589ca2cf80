"""A form with a name and a password of somebody whom others know: a directory, the host."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from hubstead_hub.guessing import Guessing
from hubstead_hub.may_stay import MayStay
from hubstead_userdb.names import normalised

#: Characters that a name or a password may have: nobody is sent megabytes
LONGEST = 256
#: Seconds: an answer to a wrong login comes after one, or two ..., whatever the reason was
STEP = 1.0


class FormLogin(Guessing, MayStay):
    """Logs in by JupyterHub's own form; a class has `kind`, `identity`, `ask` and `checked`."""

    async def checked(self, whose: str, name: str, password: str) -> dict[str, Any] | None:
        """What `authenticate` returns for a name and its password; None where one is wrong.

        + whose: the attempt is, for `in_turn`.

        Raises AwayError where nobody can tell.
        """
        raise NotImplementedError

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """The login form."""
        # here, as the handlers need the users table's authenticator
        from hubstead_hub.handlers import EverywhereLogoutHandler, PasswordLoginHandler

        return [("/login", PasswordLoginHandler), ("/logout", EverywhereLogoutHandler)]

    async def authenticate(self, handler: Any, data: Any = None, **options: Any) -> Any:
        """Who logs in; None for a wrong name or password, after about the same time.

        :raises HTTPError: 403 for who is known and may not, 429 after too many failures, 503 while
            nobody can tell.
        """
        begun = time.monotonic()
        name, password = normalised(data.get("username", "")), data.get("password", "")
        described = await self.guess(handler, name, lambda whose: self._fit(whose, name, password))
        if described is None:
            await asyncio.sleep(-(time.monotonic() - begun) % STEP)
            return None
        found = self._in_our_terms(described)
        await self._refuse_who_may_not(found)
        return found

    async def _fit(self, whose: str, name: str, password: str) -> dict[str, Any] | None:
        longest = max(len(name), len(password))
        if not (name and password and name.isprintable()) or longest > LONGEST:
            return None
        return await self.checked(whose, name, password)

    def given(self, name: str) -> str:
        """What somebody of the Hub's is called where they come from."""
        given = (given for given, own in self.rules.now.names.items() if own == name)
        ours = (one for one in given if one.startswith(self.called("")))
        return next(ours, name).removeprefix(self.called(""))
