"""What who vouches for people says of itself, in a document at an address."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead.programs import program

_NONE = "nothing was said"


class Answer(FactBase[str]):
    """What a program of programs/ prints on the host of a document, or says instead."""

    @staticmethod
    def default() -> str:
        return _NONE

    def command(self, reader: str, source: str, authorities: Sequence[str]) -> StringCommand:
        words = map(QuoteString, (program(reader), source, *authorities))
        return StringCommand("python3 -I -c", *words, "2>&1 || true")

    def process(self, output: list[str]) -> str:
        return output[-1] if output else _NONE


def _here(reader: str, source: str, authorities: Iterable[str], text: bytes | None = None) -> str:
    """The same on the control machine."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program(reader), source, *authorities],
        input=text,
        capture_output=True,
        check=False,
    )
    said = (done.stdout or done.stderr).decode(errors="replace")
    return said.strip().rpartition("\n")[2] or _NONE


def told(key: str, source: str, authorities: Iterable[Path], reader: str) -> dict[str, Any]:
    """What the document at an address says.

    It is asked for from the control machine, and where that does not reach it from the host.

    + key: the setting that has the address.
    + authorities: PEM files of further ones that may sign its certificate.
    + reader: a program of programs/, which prints it as JSON.

    Raises PyinfraError where neither gets an answer that will do.
    """
    texts = [path.read_text() for path in authorities]
    here = _here(reader, source, texts)
    if not here.startswith("{"):
        # which may know no authority by now, nor one of ours
        there = host.get_fact(Answer, reader, source, texts)
        if not there.startswith("{"):
            raise PyinfraError(
                f"`{key}` = {source!r} does not say how to log in by it; no host was "
                f"touched. From this machine: {here}. From {host.name}: {there}."
            )
        here = there
    answer: dict[str, Any] = json.loads(here)
    return answer


def told_by_file(key: str, path: Path, reader: str) -> dict[str, Any]:
    """The same of a document in a file of the control machine. Raises PyinfraError."""
    try:
        said = _here(reader, "-", (), path.read_bytes())
    except OSError as error:
        said = error.strerror or str(error)
    if not said.startswith("{"):
        raise PyinfraError(
            f"`{key}` = {str(path)!r} does not say how to log in by it; no host was touched: {said}"
        )
    answer: dict[str, Any] = json.loads(said)
    return answer
