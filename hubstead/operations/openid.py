"""What a provider of OpenID Connect says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead.programs import program

_NONE = "nothing was said"


def address(issuer: str) -> str:
    """Where the document is (OpenID Connect Discovery 1.0, 4)."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


class Answer(FactBase[str]):
    """What programs/openid_document.py prints on the host, or says instead."""

    @staticmethod
    def default() -> str:
        return _NONE

    def command(self, issuer: str, authorities: Sequence[str]) -> StringCommand:
        words = map(QuoteString, (program("openid_document.py"), issuer, *authorities))
        return StringCommand("python3 -I -c", *words, "2>&1 || true")

    def process(self, output: list[str]) -> str:
        return output[-1] if output else _NONE


def _here(issuer: str, authorities: Iterable[str]) -> str:
    """The same on the control machine."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program("openid_document.py"), issuer, *authorities],
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout or done.stderr).strip().rpartition("\n")[2] or _NONE


def document(issuer: str, authorities: Iterable[Path]) -> dict[str, str]:
    """The provider's addresses, by their names in the document.

    It is asked from the control machine, and where that does not reach it from the host.

    + authorities: PEM files of further ones that may sign its certificate.

    Raises PyinfraError where neither gets an answer that will do.
    """
    texts = [path.read_text() for path in authorities]
    here = _here(issuer, texts)
    if not here.startswith("{"):
        # which may know no authority by now, nor one of ours
        there = host.get_fact(Answer, issuer, texts)
        if not there.startswith("{"):
            raise PyinfraError(
                f"`hub_oidc_issuer` = {issuer!r} does not say how to log in by it; no host was "
                f"touched. From this machine: {here}. From {host.name}: {there}."
            )
        here = there
    answer: dict[str, str] = json.loads(here)
    return answer
