"""Certificates that one host of the inventory learns from another, over the run's connections."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from pathlib import PurePosixPath

from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_state, host

from hubstead.operations import files


def parse_certificates(lines: Iterable[str]) -> dict[str, str]:
    """The text of each file, by path, from the lines that the command of `Certificates` prints."""
    found: dict[str, str] = {}
    for line in lines:
        path, _, text = line.partition(":")
        found[path] = f"{found.get(path, '')}{text}\n"
    return found


class Certificates(FactBase[dict[str, str]]):
    """The certificates at a path, a file or a directory: the text of each *.pem, by its path."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, path: str) -> StringCommand:
        return StringCommand(
            "find", QuoteString(path), "-name '*.pem' -exec grep -H '' {} + 2>/dev/null || true"
        )

    def process(self, output: list[str]) -> dict[str, str]:
        return parse_certificates(output)


@operation()
def learnt(directory: str, of: Mapping[str, Host], source: str) -> Generator[StringCommand]:
    """Ensure that `directory` holds what other hosts have at `source`, and nothing else.

    + of: file name to host. Where there is none, the directory goes.
    + source: path of a certificate on those hosts, which must be there when this one asks: a
      barrier belongs in front.

    A host that `--limit` leaves out is not asked, and what was learnt from it before is kept.
    """
    state: State = ctx_state.get()
    known = host.get_fact(Certificates, directory)
    wanted: dict[str, files.Entry] = {directory: files.Directory() if of else None}
    wanted |= {path: None for path in known if of and PurePosixPath(path).name not in of}
    for file, other in of.items():
        path = f"{directory}/{file}"
        if state.is_host_in_limit(other):
            text = other.get_fact(Certificates, source).get(source)
        else:
            text = known.get(path)
        if text is None and state.is_executing:
            reason = (
                f"{host.name} must know the authority of {other.name} ({source} there), which "
                "is not there or was left out of this run: run without --limit."
            )
            yield StringCommand("printf '%s\\n'", QuoteString(reason), ">&2; false")
            return
        # in a plan, the other host may have none yet
        wanted[path] = files.File(text or "")
    yield from files.present._inner(wanted)
