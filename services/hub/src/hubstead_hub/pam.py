"""Login by the accounts of the host, or whatever else its PAM asks: SSSD, Kerberos, winbind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from traitlets import default

from hubstead_hub.form import FormLogin
from hubstead_hub.may_stay import AT_ONCE, AwayError

#: Where hubstead_hub.pam_helper is asked
SOCKET = "/run/hubstead-pam.sock"
#: Seconds for an answer: PAM waits for two after a wrong password (pam_faildelay(8)), and longer
#: for a server that is away
PATIENCE = 30


async def asked(request: dict[str, str], socket: str = SOCKET) -> dict[str, Any] | None:
    """Somebody of the host; None for whom PAM refuses. Raises AwayError where it cannot tell."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(json.dumps(request).encode() + b"\n")
                answer: dict[str, Any] | None = json.loads(await reader.readline())
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        raise AwayError(f"hubstead-pam.socket: {error!r}") from error
    if answer and "error" in answer:
        raise AwayError(f"PAM: {answer['error']}")
    return answer


class Pam(FormLogin):
    """Logs in whom PAM does, but for accounts of the system."""

    who_knows = "The host"

    @default("password_threads")
    def _password_threads_default(self) -> int:
        # which wait for PAM
        return AT_ONCE

    @property
    def kind(self) -> str:
        return "pam"

    def identity(self, found: dict[str, Any]) -> str:
        return str(found["identity"])

    async def checked(self, whose: str, name: str, password: str) -> dict[str, Any] | None:
        try:
            async with self.turn(whose):
                return self._described(name, await asked({"login": name, "password": password}))
        except AwayError as error:
            self.log.error("Nobody can log in: %s", error.why)
            raise

    async def ask(self, user: Any, handler: Any) -> dict[str, Any] | None:
        name = self.given(user.name)
        return self._described(name, await asked({"look": name}))

    @staticmethod
    def _described(name: str, person: dict[str, Any] | None) -> dict[str, Any] | None:
        if person is None:
            return None
        return {
            "name": name,
            "identity": str(person["uid"]),
            "groups": person["groups"],
            "auth_state": None,
        }
