"""People's files: there before a server starts, and out of the way of who has the name next.

Each person has a directory that belongs to a uid of its own. A helper on the Hub's host makes it,
which runs as root and can do nothing else (programs/people_files.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tornado import web

from hubstead_hub import sessions

SOCKET = "/run/hubstead-people-files.sock"


class FilesError(web.HTTPError):
    """The files cannot be had.

    `jupyterhub_message` is what the page shows. Of this kind of error JupyterHub logs one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(503, message)
        self.jupyterhub_message = message

    def __str__(self) -> str:
        return self.jupyterhub_message


async def ask(verb: str, name: str, account: str | None, socket: str = SOCKET) -> dict[str, Any]:
    """The helper's answer about somebody's files.

    + verb: `want`, `leave` or `show`.
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


#: The part of a limit from which on somebody reads what to do
NEARLY = 0.95


def words(answer: dict[str, Any]) -> str:
    """What the helper answers to `show`, for the person."""
    (size, most_bytes), (files, most_files) = answer["bytes"], answer["files"]
    text = (
        f"Your files take {_size(size)} of {_size(most_bytes)}; they are {files:,} of at most"
        f" {most_files:,} files and directories."
    )
    if max(size / most_bytes, files / most_files) >= NEARLY:
        text += (
            " When that is full nothing can be saved: remove what you no longer need, in the file"
            " browser or in a terminal."
        )
    return text


def _size(count: int) -> str:
    """Bytes as people read them, such as 9.9 GiB; never more than they are."""
    for unit, bits in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if count >> bits:
            whole, tenth = divmod(count * 10 >> bits, 10)
            return f"{whole}.{tenth} {unit}" if tenth else f"{whole} {unit}"
    return f"{count >> 10} KiB"


class Shown:
    """For the home page: what the files of who looks at it take, of how much, in words.

    JupyterHub calls it for every page and waits for nothing: what it returns asks when it is called
    in its turn (JupyterHub.template_vars).
    """

    def __call__(self, user: Any) -> Callable[[], Awaitable[str]]:
        return partial(self.of, user)

    async def of(self, user: Any) -> str:
        """Empty where nobody is limited, or the helper does not answer."""
        try:
            answer = await ask("show", user.spawner.escaped_name, await _account(user))
        except FilesError:
            # the start of a server says why
            return ""
        return words(answer) if answer else ""


async def _account(user: Any) -> str | None:
    # an owner's lines may have chosen another authenticator
    account = getattr(user.authenticator, "account", None)
    return await account(user.name) if account else None


async def ready(spawner: Any) -> None:
    """Have the files of a server's owner made ready. Raises FilesError."""
    await ask("want", spawner.escaped_name, await _account(spawner.user))


def give_people_files() -> None:
    """Have each container's files ready before it is made; the filter before Docker looks."""
    from dockerspawner import DockerSpawner

    spawner_class: Any = DockerSpawner
    create = spawner_class.create_object

    async def create_object(self: Any) -> Any:
        await ready(self)
        return await create(self)

    spawner_class.create_object = create_object
    put_files_aside()


def put_files_aside() -> None:
    """Keep the files of an account that is gone from who has its name next."""

    async def leave(user: Any, account: str | None) -> None:
        await ask("leave", user.spawner.escaped_name, account)

    sessions.LEAVING.append(leave)
