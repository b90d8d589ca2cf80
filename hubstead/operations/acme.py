"""The certificate from an ACME server; scripts on the host get it, each for a client of its own."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.context import host


class CertificateIsObtained(FactBase[bool]):
    """Whether the certificate will do, is in place, and its hooks ran; the script knows how."""

    @staticmethod
    def default() -> bool:
        return False

    def requires_command(self, script: str) -> str:
        return script

    def command(self, script: str) -> StringCommand:
        return StringCommand(script, "--check")

    def process(self, output: list[str]) -> bool:
        return output == ["valid"]


@operation()
def obtained(script: str) -> Generator[StringCommand]:
    """Ensure the certificate that /etc/hubstead/certificate/wanted.json describes.

    + script: what gets it, on the host. It fails with a reason, and leaves the present one.
    """
    if not host.get_fact(CertificateIsObtained, script):
        yield StringCommand(script, "obtain")
