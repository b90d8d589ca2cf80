"""People's servers as units of systemd, for a Hub that is not root.

A helper on the Hub's host starts and stops them, which runs as root and can do nothing else
(programs/people_servers.py).
"""

from __future__ import annotations

import asyncio
import json
import string
from collections.abc import AsyncIterator
from typing import Any

from jupyterhub.spawner import Spawner
from tornado import web

from hubstead_hub import files
from hubstead_hub.groups import place_of, profile_of

SOCKET = "/run/hubstead-people-servers.sock"
PORT = 8888
_PLAIN = {*string.ascii_lowercase, *string.digits}
#: What the helper passes to a server of what JupyterHub has for it
_PASSED = ("JUPYTERHUB_", "MEM_", "CPU_")
#: Not typed
_Spawner: Any = Spawner


class ServersError(web.HTTPError):
    """A server cannot be started or stopped.

    `jupyterhub_message` is what the page shows. Of this kind of error JupyterHub logs one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(503, message)
        self.jupyterhub_message = message

    def __str__(self) -> str:
        return self.jupyterhub_message


async def ask(request: dict[str, Any], socket: str = SOCKET) -> dict[str, Any]:
    """The helper's answer. Raises ServersError."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await reader.readline())
        finally:
            writer.close()
    except (OSError, ValueError) as error:
        raise ServersError(
            "servers cannot be started or stopped at the moment: on the Hub's host"
            f" hubstead-people-servers.socket does not answer ({error})"
        ) from error
    if "error" in answer:
        raise ServersError(answer["error"])
    return answer


def escaped(name: str) -> str:
    """A name as it is in paths: what is no letter or digit as in ada-40example-2eorg."""
    return "".join(
        each if each in _PLAIN else "".join(f"-{byte:02x}" for byte in each.encode())
        for each in name
    )


async def _listens(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True


class SystemdSpawner(_Spawner):  # type: ignore[misc]
    """One server a person: hubstead-server@UID.service."""

    #: The unit; empty for what the Hub has of the server of before, in Docker, or of an earlier Hub
    unit = ""

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), **({"unit": self.unit} if self.unit else {})}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.unit = state.get("unit", "")

    def clear_state(self) -> None:
        super().clear_state()
        self.unit = ""

    @property
    def escaped_name(self) -> str:
        """As in the path of the person's files."""
        return escaped(self.user.name)

    async def start(self) -> tuple[str, int]:
        if self.name:
            raise ServersError("each person has one server here, without a name")
        self.port = PORT
        await files.ready(self)
        environment = {
            name: str(value)
            for name, value in self.get_env().items()
            if name.startswith(_PASSED) and value is not None
        }
        place = place_of(self.user)
        profile = profile_of(place, self.user_options or {})
        request = {
            "start": self.escaped_name,
            "environment": environment,
            "arguments": self.get_args(),
            "groups": sorted(place.groups),
            "teaches": sorted(place.teaches),
            **({"profile": profile.name} if profile else {}),
        }
        started = await ask(request)
        self.unit = started["unit"]
        # else who waits is told after minutes that it does not answer
        while not await _listens(started["address"], PORT):
            if await self._ended():
                raise ServersError(
                    "the server ended before it answered; on the Hub's host, `journalctl"
                    f" --namespace=+hubstead-servers -u {started['unit']}` has the reason"
                )
            await asyncio.sleep(0.3)
        return started["address"], PORT

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        yield {"progress": 50, "message": "Your server is being started"}

    async def poll(self) -> int | None:
        """None while it runs; nothing of the helper's is asked for as long as it answers.

        Where the unit is not known, anything may answer at the address that the Hub has.
        """
        address = self.server and self.server.ip
        if self.unit and address and await _listens(address, self.server.port):
            return None
        try:
            return 0 if await self._ended() else None
        except ServersError as error:
            # it goes on without the helper
            self.log.warning("The server of %s: %s", self.user.name, error)
            return None

    async def stop(self, now: bool = False) -> None:
        await ask({"stop": self.escaped_name})

    async def _ended(self) -> bool:
        seen = await ask({"look": self.escaped_name})
        self.unit = seen["unit"]
        return not seen["runs"]
