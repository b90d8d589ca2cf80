"""A look at the host that leaves no trace (programs/examine.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand

from hubstead.operations.checks import Check
from hubstead.programs import program


@dataclass(frozen=True)
class Answer:
    """Whether something holds, and what was said; `unit` is the one that does not run."""

    holds: bool
    said: str = ""
    unit: str | None = None


class Answers(FactBase[list[Answer]]):
    """What the host answers to checks, in their order; none where it does not.

    They travel on standard input (`questions`): an argument has 128 KiB (execve(2)).
    """

    @staticmethod
    def default() -> list[Answer]:
        return []

    def command(self) -> StringCommand:
        return StringCommand("python3 -I -c", QuoteString(program("examine.py")))

    def process(self, output: list[str]) -> list[Answer]:
        try:
            return [Answer(**each) for each in json.loads(output[-1]).values()]
        except (ValueError, TypeError, AttributeError) as error:
            raise FactProcessError(f"unreadable answers of the host: {error}") from error


def questions(checks: Iterable[Check]) -> str:
    """What `Answers` gets on standard input."""
    return json.dumps(
        {
            str(number): {"units": check.units, "script": check.script}
            for number, check in enumerate(checks)
        }
    )
