"""The host's store of trusted certificate authorities."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass

from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.context import host

from hubstead.operations import files

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
DIRECTORY = "/usr/local/share/ca-certificates"
_PREFIX = f"{DIRECTORY}/hubstead-"


@dataclass(frozen=True)
class TrustState:
    """The files of ours, and whether one below `DIRECTORY` is newer than the bundle."""

    ours: tuple[str, ...] = ()
    stale: bool = False


def parse_trust(lines: Iterable[str]) -> TrustState:
    """The state from the lines that the command of `Trust` prints."""
    found = list(lines)
    ours = (line.removeprefix("ours ") for line in found if line.startswith("ours "))
    return TrustState(tuple(sorted(ours)), "stale" in found)


class Trust(FactBase[TrustState]):
    """What the store has of ours. Rule: update-ca-certificates(8)."""

    @staticmethod
    def default() -> TrustState:
        return TrustState()

    def command(self) -> str:
        return (
            f"find {DIRECTORY} -path '{_PREFIX}*.crt' -printf 'ours %p\\n' 2>/dev/null;"
            f' [ -e {BUNDLE} ] && [ -z "$(find {DIRECTORY} -newer {BUNDLE} 2>/dev/null)" ]'
            " || echo stale"
        )

    def process(self, output: list[str]) -> TrustState:
        return parse_trust(output)


@operation()
def trusted(authorities: Mapping[str, bytes]) -> Generator[StringCommand]:
    """Ensure that the host trusts these authorities, and those that its owner put there.

    + authorities: name to certificates in PEM. One of ours that is no longer here goes.

    Rule: update-ca-certificates(8).
    """
    wanted: dict[str, files.Entry] = {
        f"{_PREFIX}{name}.crt": files.File(pem) for name, pem in authorities.items()
    }
    state = host.get_fact(Trust)
    gone = dict.fromkeys(path for path in state.ours if path not in wanted)
    changes = list(files.present._inner({**wanted, **gone}))
    yield from changes
    if changes or state.stale:
        # --fresh: a certificate that left the directory leaves the bundle too. The bundle is not
        # written when it would stay the same, and must be newer than the directory all the same.
        yield StringCommand("update-ca-certificates --fresh >/dev/null && touch", BUNDLE)
