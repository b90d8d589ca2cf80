"""A host's own authority, in a directory of this machine: the real scripts, and stand-ins."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hubstead.operations import internal_ca, pairs
from hubstead.programs import program

#: Has the hooks run as the unit on a host does
_SYSTEMCTL = """#!/bin/sh
[ "$*" = "start hubstead-certificate-hooks.service" ] || exit 4
exec env -i PATH=/usr/bin:/bin {hooks} {directory}
"""


class Authority:
    """What /etc/hubstead/tls is on a host."""

    def __init__(self, root: Path) -> None:
        self.directory, self._scripts = root / "tls", root / "lib"
        for directory in (self.directory / "hooks", self._scripts):
            directory.mkdir(parents=True, exist_ok=True)
        for path in (internal_ca.SCRIPT, pairs.INSTALL, pairs.TELL):
            self._script(path, program(f"{path.rpartition('/')[2]}.sh"))
        hooks = self._scripts / pairs.TELL.rpartition("/")[2]
        self._script("systemctl", _SYSTEMCTL.format(hooks=hooks, directory=self.directory))

    def _script(self, path: str, text: str) -> None:
        for there, here in (
            ("/etc/hubstead/tls", self.directory),
            ("/usr/local/lib/hubstead", self._scripts),
            ("chgrp hubstead-tls", f"chgrp {os.getgid()}"),
        ):
            text = text.replace(there, str(here))
        script = self._scripts / path.rpartition("/")[2]
        script.write_text(text)
        script.chmod(0o755)

    @property
    def root(self) -> Path:
        return self.directory / "ca.pem"

    def run(self, script: str, *arguments: str, **environment: str) -> str:
        """What a script prints, with its complaints. It has to succeed."""
        path = f"{self._scripts}:{os.environ['PATH']}"
        done = subprocess.run(
            [self._scripts / script.rpartition("/")[2], *arguments],
            env={**os.environ, **environment, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def issue(self, names: Iterable[str], permitted: Iterable[str] | None = None) -> str:
        """Have the host's certificate issued for names, as a run does; what the script says."""
        names = list(names)
        self._list("names", names)
        self._list("permitted", list(permitted or names))
        return self.run(internal_ca.SCRIPT)

    def _list(self, file: str, names: list[str]) -> None:
        (self.directory / file).write_text("".join(f"{name}\n" for name in names))

    def is_valid(self) -> bool:
        return self.run(internal_ca.SCRIPT, "--check") == "valid\n"

    def openssl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["openssl", *arguments],
            cwd=self.directory, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def forge(self, san: str, subject: str = "/CN=Hubstead host") -> tuple[Path, Path]:
        """A certificate for a name that whoever has the authority's key signs, and its key.

        + san: as OpenSSL writes it, such as DNS:bank.example.com.
        """
        key, request, extensions, certificate = (
            self.directory / f"forged.{kind}" for kind in ("key", "csr", "ext", "pem")
        )
        extensions.write_text(
            "basicConstraints = critical, CA:FALSE\n"
            "keyUsage = critical, digitalSignature\n"
            "extendedKeyUsage = serverAuth\n"
            f"subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
            f"subjectAltName = {san}\n"
        )
        self.openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", subject, "-keyout", str(key), "-out", str(request),
        )  # fmt: skip
        self.openssl(
            "x509", "-req", "-in", str(request), "-CA", "ca.pem", "-CAkey", "ca-key.pem",
            "-days", "90", "-set_serial", "77", "-extfile", str(extensions),
            "-out", str(certificate),
        )  # fmt: skip
        return certificate, key

    def pair(self) -> tuple[Path, Path]:
        """The host's certificate and its key."""
        return self.directory / "fullchain.pem", self.directory / "key.pem"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A visitor who hangs up is no news."""


@contextmanager
def serving(pair: tuple[Path, Path], address: str = "127.0.0.1") -> Iterator[int]:
    """A server on loopback with a certificate and its key; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    with _Server((address, 0), _Page) as server:
        # the handshake is the business of each visitor's thread: some only connect
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
