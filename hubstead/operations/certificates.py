"""The host's store of trusted certificate authorities."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.context import host

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class TrustIsStale(FactBase[bool]):
    """Whether a certificate below /usr/local/share/ca-certificates is newer than the bundle."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self) -> str:
        return (
            f"[ -e {BUNDLE} ] || echo stale;"
            f" find /usr/local/share/ca-certificates -newer {BUNDLE} 2>/dev/null | head -n 1"
        )

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def trusted() -> Generator[StringCommand]:
    """Ensure that the bundle holds what /usr/local/share/ca-certificates has.

    Rule: update-ca-certificates(8).
    """
    if host.get_fact(TrustIsStale):
        # --fresh: a certificate that left the directory leaves the bundle too. The bundle is not
        # written when it would stay the same, and must be newer than the directory all the same.
        yield StringCommand("update-ca-certificates --fresh >/dev/null && touch", BUNDLE)
