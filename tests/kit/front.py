"""A lab host that goes from front to front, with a certificate by ACME or from files."""

from __future__ import annotations

import json
import shlex
import socket
import ssl
from typing import Any

from cryptography import x509

from lab import Lab
from lab.acme import Pebble
from tests.kit.support import Run, pyinfra

NAME = "issued.example.org"
NAMES = [NAME, "www.issued.example.org"]
FRONTS: dict[str, dict[str, Any]] = {
    "traefik": {},
    "nginx": {"edge": "nginx"},
    "apache": {"edge": "apache"},
    "chp": {"proxy": "chp"},
}
CHECK = "hubstead-certificate-check.service"


class Front:
    """The host, with one of the fronts on it."""

    def __init__(self, lab: Lab, acme: Pebble, kind: str) -> None:
        self.lab, self.acme, self.kind = lab, acme, kind
        self.address, self.inventory = lab.host(NAME).address, lab.host(NAME).inventory

    def deploy(self, names: list[str] = NAMES, **data: Any) -> Run:
        settings = {
            "hub_names": json.dumps(names), **FRONTS[self.kind], **data,
        }  # fmt: skip
        words = [f"{key}={value}" for key, value in settings.items()]
        arguments = [word for pair in words for word in ("--data", pair)]
        return pyinfra(self.inventory, *arguments, "tests/deploys/front.py")

    def alarm(self) -> str:
        """How the look for certificates ends."""
        self.sudo(f"systemctl start {CHECK} || true")
        return self.sudo(f"systemctl show -P Result {CHECK}")

    def warnings(self) -> str:
        return self.sudo(f"journalctl -p warning -u {CHECK} -o cat")

    def sudo(self, script: str, check: bool = True) -> str:
        done = self.lab.run(NAME, f"sudo sh -euc {shlex.quote(script)}", check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout + done.stderr

    def served(self, name: str = NAME) -> x509.Certificate:
        """What a visitor is shown."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((self.address, 443), timeout=10)
        with plain, context.wrap_socket(plain, server_hostname=name) as secure:
            shown = secure.getpeercert(binary_form=True)
        assert shown
        return x509.load_der_x509_certificate(shown)

    def serial(self) -> int:
        """Of the served certificate; 0 where none is, for a moment."""
        try:
            return self.served().serial_number
        except OSError:
            return 0

    def check_verifies(self, root: str) -> None:
        """As a browser with this root in its store does, for each name."""
        context = ssl.create_default_context(cadata=root)
        for name in NAMES:
            with socket.create_connection((self.address, 443), timeout=10) as plain:
                context.wrap_socket(plain, server_hostname=name).close()
