"""A host on which someone's own web server was first, and the role that joins it."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any

from tests.kit.service import Service
from tests.kit.support import PROJECT, Run

#: All names lead to the host itself
CURL = (
    "curl -s --noproxy '*' --max-time 20 --cacert /etc/hubstead/tls/ca.pem"
    " --connect-to ::127.0.0.1:"
)
STATUS = f"{CURL} -o /dev/null -w '%{{http_code}} %{{redirect_url}}\\n'"

_UPSTREAM = """
systemctl stop upstream 2>/dev/null || true
cat >/root/upstream.py
systemd-run -q --collect --unit=upstream \\
    python3 /root/upstream.py 8000 {0}/fullchain.pem {0}/key.pem
until ss -Hltn sport = :8000 | grep -q .; do sleep 0.1; done
"""


class Owned(Service):
    """The host; the service is under /jupyter/."""

    def role(self, name: str, *data: str) -> Run:
        """Deploy one role alone."""
        arguments = [word for pair in data for word in ("--data", pair)]
        return self.run(*arguments, f"deploys/{name}.py")

    def retire(self) -> Run:
        """Deploy what a setting without an edge would begin with."""
        deploy = self.directory / "retire.py"
        deploy.write_text(
            "from hubstead.retire import retire\nfrom hubstead.site import here\n\nretire(here())\n"
        )
        return self.run("--data", "edge=none", str(deploy))

    def answer(self, words: str = "") -> dict[str, Any]:
        """What reached the proxy of a request to the service; headers in lower case."""
        told: dict[str, Any] = json.loads(
            self.sudo(f"{CURL} {words or f'https://{self.name}/jupyter/'}")
        )
        return told | {"headers": {key.lower(): value for key, value in told["headers"].items()}}

    def begin(self, directory: str) -> None:
        """Have the stand-in for the proxy serve with the certificate in `directory`."""
        program = (PROJECT / "tests/kit/upstream.py").read_text()
        self.sudo(_UPSTREAM.format(directory), input=program)

    def websocket(self) -> ssl.SSLSocket:
        plain = socket.create_connection((self.address, 443), timeout=20)
        wrapped = self.site.tls().wrap_socket(plain, server_hostname=self.name)
        wrapped.sendall(
            f"GET /jupyter/ws HTTP/1.1\r\nHost: {self.name}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert wrapped.recv(4096).startswith(b"HTTP/1.1 101 ")
        return wrapped
