"""People's files: there before a server starts, and out of the way of who has the name next.

Each person has a directory that belongs to a uid of its own. A helper on the Hub's host makes it,
which runs as root and can do nothing else (programs/people_files.py).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hubstead_hub import sessions

SOCKET = "/run/hubstead-people-files.sock"


class FilesError(Exception):
    """The files cannot be had; `jupyterhub_message` is what the page shows."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.jupyterhub_message = message


async def ask(verb: str, name: str, account: str | None, socket: str = SOCKET) -> dict[str, Any]:
    """The helper's answer about somebody's files.

    + verb: `want` or `leave`.
    + name: as the spawner escapes it.
    + account: what tells it from the next one of its name, where that is known.

    Raises FilesError.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            writer.write(json.dumps({verb: name, "account": account or ""}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await reader.readline())
        finally:
            writer.close()
    except (OSError, ValueError) as error:
        raise FilesError(
            "people's files cannot be reached at the moment: on the Hub's host"
            f" hubstead-people-files.socket does not answer ({error})"
        ) from error
    if "error" in answer:
        raise FilesError(f"the files could not be made ready: {answer['error']}")
    return answer


def give_people_files() -> None:
    """Have each container's files ready before it is made; the filter before Docker looks."""
    from dockerspawner import DockerSpawner

    spawner_class: Any = DockerSpawner
    create = spawner_class.create_object

    async def create_object(self: Any) -> Any:
        # an owner's lines may have chosen another authenticator
        account = getattr(self.user.authenticator, "account", None)
        await ask("want", self.escaped_name, await account(self.user.name) if account else None)
        return await create(self)

    async def leave(user: Any, account: str | None) -> None:
        await ask("leave", user.spawner.escaped_name, account)

    spawner_class.create_object = create_object
    sessions.LEAVING.append(leave)
