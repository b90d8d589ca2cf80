"""The certificate from an ACME server, which a script on the host gets."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import FactBase, FactProcessError, StringCommand, operation
from pyinfra.context import host


class FirstUnprivilegedPort(FactBase[int]):
    """The lowest port that an account without rights can listen on. Rule: ip-sysctl(kernel.org)."""

    @staticmethod
    def default() -> int:
        return 1024

    def command(self) -> str:
        return "cat /proc/sys/net/ipv4/ip_unprivileged_port_start || true"

    def process(self, output: list[str]) -> int:
        try:
            return int(output[0])
        except (IndexError, ValueError) as error:
            raise FactProcessError(f"not a port: {output}") from error


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
