"""The certificate from the service's own authority; a script on the host makes and renews it."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.context import host

SCRIPT = "/usr/local/lib/hubstead/internal-certificate"


class CertificateIsValid(FactBase[bool]):
    """Whether the present certificate will do; the script says what that means."""

    @staticmethod
    def default() -> bool:
        return False

    def requires_command(self) -> str:
        return SCRIPT

    def command(self) -> StringCommand:
        return StringCommand(SCRIPT, "--check")

    def process(self, output: list[str]) -> bool:
        return output == ["valid"]


@operation()
def issued() -> Generator[StringCommand]:
    """Ensure a certificate for the names in /etc/hubstead/tls/names."""
    if not host.get_fact(CertificateIsValid):
        yield StringCommand(SCRIPT)
