"""A certificate and its key in a directory of the host, replaced as a pair.

A script on the host, `INSTALL`, puts them there, and a unit, `HOOKS`, runs the directory's hooks;
`TELL` says how.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from pyinfra import logger
from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.api.state import State
from pyinfra.context import ctx_state, host

from hubstead.operations.files import File

INSTALL = "/usr/local/lib/hubstead/install-certificate"
TELL = "/usr/local/lib/hubstead/certificate-hooks"
HOOKS = "hubstead-certificate-hooks"


@dataclass(frozen=True)
class PairState:
    """The SHA-256 of the certificate in place, and whether the hooks know of it."""

    sha256: str | None = None
    announced: bool = False


def parse_pair(lines: Iterable[str]) -> PairState:
    """The state from the lines that the command of `Pair` prints."""
    found = dict(line.split(" ", 1) for line in lines if " " in line)
    current = found.get("current")
    return PairState(found.get("sum"), current is not None and current == found.get("announced"))


class Pair(FactBase[PairState]):
    """The pair in a directory."""

    @staticmethod
    def default() -> PairState:
        return PairState()

    def command(self, directory: str) -> StringCommand:
        script = (
            'cd "$1" 2>/dev/null || exit 0; for file in fullchain.pem key.pem; do'
            ' [ "$(readlink "$file")" = "current/$file" ] && [ -s "$file" ] || exit 0; done;'
            ' echo "current $(readlink current)"; echo "announced $(cat announced 2>/dev/null)";'
            ' echo "sum $(sha256sum <fullchain.pem | cut -c 1-64)"'
        )
        return StringCommand("sh -c", QuoteString(script), "sh", QuoteString(directory))

    def process(self, output: list[str]) -> PairState:
        return parse_pair(output)


# The key is in memory alone (/run) until it is in place.
_INSTALL_FROM_INPUT = """
set -eu
umask 077
new=$(mktemp -d /run/hubstead.XXXXXX)
trap 'rm -rf "$new"' EXIT
read -r fullchain
read -r key
printf '%s' "$fullchain" | base64 -d >"$new/fullchain.pem"
printf '%s' "$key" | base64 -d >"$new/key.pem"
"$1" "$2" "$new/fullchain.pem" "$new/key.pem"
"""


@operation()
def installed(directory: str, fullchain: File, key: File) -> Generator[StringCommand]:
    """Ensure that this pair is in a directory, and that its hooks ran for it.

    + fullchain: the certificate, and those that signed it, in PEM.
    + key: its key, in PEM. Who owns it, and who may read it, the directory says.
    """
    state = host.get_fact(Pair, directory)
    if state.sha256 != hashlib.sha256(fullchain.data).hexdigest():
        lines = "\n".join(base64.b64encode(file.data).decode() for file in (fullchain, key))
        yield StringCommand(
            "sh -c", QuoteString(_INSTALL_FROM_INPUT), "sh", INSTALL, QuoteString(directory),
            _stdin=f"{lines}\n",
        )  # fmt: skip
    elif not state.announced:
        yield StringCommand(INSTALL, QuoteString(directory))


@operation()
def begun(directory: str, source: str) -> Generator[StringCommand]:
    """Ensure that there is a pair in a directory, whichever.

    + source: a directory that has one, for the first time.
    """
    if host.get_fact(Pair, directory).sha256 is None:
        yield StringCommand(
            INSTALL, QuoteString(directory),
            QuoteString(f"{source}/fullchain.pem"), QuoteString(f"{source}/key.pem"),
        )  # fmt: skip


class DueHooks(FactBase[list[str]]):
    """The hooks of some directories that failed for the pair in place, as paths."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, directories: list[str]) -> StringCommand:
        script = 'for directory; do sed "s,^,$directory/," "$directory/due" 2>/dev/null; done; true'
        return StringCommand(
            "sh -c", QuoteString(script), "sh", *(QuoteString(each) for each in directories)
        )

    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def hooks_tried(directories: list[str]) -> Generator[StringCommand]:
    """Ensure that hooks which failed get another try, and say which ones fail still.

    They do not fail the run: the certificate is in place, and the hook may be the owner's.
    """
    if host.get_fact(DueHooks, directories):
        yield StringCommand("systemctl start", f"{HOOKS}.service", "2>/dev/null || true")
        state: State = ctx_state.get()
        for hook in host.get_fact(DueHooks, directories) if state.is_executing else []:
            logger.warning(
                f"{host.name}: {hook} failed, which runs when the certificate was replaced. The "
                "certificate is in place, and the hook is tried again every hour and in every run; "
                f"what it said: journalctl -u {HOOKS}"
            )
