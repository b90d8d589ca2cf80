"""A person who leaves for good: files archived, then removed with the account."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import host

from hubstead.programs import program


def _command(plan: str, action: str) -> StringCommand:
    text = program("offboard.py")
    return StringCommand("python3 -I -c", QuoteString(text), QuoteString(plan), action)


@dataclass(frozen=True)
class Belongings:
    """What there is of a person on the Hub's host.

    + account: whether the users table has it; `known` whether the Hub knows anybody of that name.
    + servers: how many there are.
    + directory: whether there are files: `files` of them, of `size` bytes.
    + begun: whether a run before this one was cut.
    + still: keys of settings on the host that let the person in.
    + volume: whether files are where earlier versions had them.
    """

    account: bool
    known: bool
    servers: int
    directory: bool
    size: int
    files: int
    begun: bool
    still: list[str]
    volume: bool

    @property
    def any(self) -> bool:
        return bool(self.account or self.known or self.servers or self.directory or self.begun)


class Leaving(FactBase[Belongings]):
    """What there is of a person.

    + plan: for programs/offboard.py, as JSON.
    """

    def command(self, plan: str) -> StringCommand:
        return _command(plan, "look")

    def process(self, output: list[str]) -> Belongings:
        try:
            return Belongings(**json.loads("".join(output)))
        except (ValueError, TypeError) as error:
            raise FactProcessError(f"unreadable output of the program: {error}") from error


@operation()
def offboarded(plan: str) -> Generator[StringCommand]:
    """Ensure that nothing is left of a person but an archive of the files.

    + plan: for programs/offboard.py, as JSON.
    """
    if host.get_fact(Leaving, plan).any:
        yield _command(plan, "go")
