"""The users table, through the `hub-users` command that keeps it."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from pyinfra import logger
from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import ctx_state, host
from pyinfra.facts.files import File
from pyinfra.facts.server import Which

from hubstead.operations import checks

COMMAND = "/usr/local/bin/hub-users"


def parse_changes(text: str) -> list[str]:
    """What a `--check` run would change; where it cannot tell, that counts as a change."""
    document: dict[str, Any] = json.loads(text)
    return list(document["changes"]) if "changes" in document else [document["unavailable"]]


class Changes(FactBase[list[str]]):
    """What `hub-users ... --check` says it would change."""

    @staticmethod
    def default() -> list[str]:
        return ["the command is not installed yet"]

    def requires_command(self, arguments: list[str]) -> str:
        return COMMAND

    def command(self, arguments: list[str]) -> StringCommand:
        return StringCommand(COMMAND, *[QuoteString(argument) for argument in arguments], "--check")

    def process(self, output: list[str]) -> list[str]:
        try:
            return parse_changes("".join(output))
        except (ValueError, KeyError) as error:
            raise FactProcessError(f"unreadable output of hub-users: {error}") from error


@operation()
def migrated(known: str) -> Generator[StringCommand]:
    """Ensure the table, its function and its access rights.

    + known: a file that is there once the Hub knew people. Where the table is not there any more,
      they are told of: nobody but the owner can bring them back.
    """
    changes = host.get_fact(Changes, ["migrate"])
    if not changes:
        return
    if (
        any(change.startswith("create the users table") for change in changes)
        and host.get_fact(File, known)
        and ctx_state.get().is_executing
    ):
        logger.warning(
            f"{host.name}: the users table is gone, with all who were added by `hub-users`. It is "
            "made anew, and nobody but the people of `hub_users` can log in. Bring the others back "
            'before they are forgotten: docs/users.md, "The users table is lost".'
        )
    yield StringCommand(COMMAND, "migrate")


@operation()
def declared(people: list[dict[str, Any]]) -> Generator[StringCommand]:
    """Ensure that the table says of the declared people what `people` says.

    + people: dictionaries with `username`, `admin` and `enabled`. Whoever was declared and no
      longer is gets disabled; a new one gets a one-time password.

    The people travel on standard input: an argument has 128 KiB (MAX_ARG_STRLEN, execve(2)), and
    2,100 of them need that.
    """
    arguments = ["declare", "--json", "-"]
    text = json.dumps(people, sort_keys=True)
    # where there is no command yet, the shell would hang up on whoever writes to it
    if host.get_fact(Which, COMMAND) and not host.get_fact(Changes, arguments, _stdin=text):
        return
    yield StringCommand(COMMAND, *arguments, _stdin=text)


def check(server: str) -> checks.Check:
    """That the table can be asked. `server` is the name of the host that has it."""
    return checks.Check(
        name="Ask the users table",
        part="The users table",
        script=f"{COMMAND} status --json",
        mend=f"journalctl -u 'postgresql*' on {server}; hub-users status",
        of="accounts",
    )
