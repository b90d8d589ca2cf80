"""certificate-check against a server with a certificate that ends in ten days."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from programs import certificate_check

NAME = "hub.example.org"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server."""
    directory, port = tmp_path_factory.mktemp("tls"), free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "10", "-subj", f"/CN={NAME}", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
    server = subprocess.Popen(
        ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", "cert.pem",
         "-key", "key.pem"],
        cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 10
        while certificate_check.served("tls", "127.0.0.1", str(port), NAME) is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield port
    finally:
        server.kill()
        server.wait()


class Check:
    """A run of the program."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.metrics = directory / "metrics.prom"
        self._endpoints = directory / "endpoints"
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(certificate_check, "ENDPOINTS", self._endpoints)
        monkeypatch.setattr(certificate_check, "METRICS", self.metrics)
        monkeypatch.setattr(certificate_check, "PATIENCE", 0)
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)

    def __call__(self, days: str, *ports: int) -> int:
        self._endpoints.write_text("".join(f"tls 127.0.0.1 {port} {NAME}\n" for port in ports))
        self._monkeypatch.setattr(sys, "argv", ["certificate-check", days])
        with pytest.raises(SystemExit) as ended:
            certificate_check.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    return Check(tmp_path, monkeypatch)


def test_a_certificate_with_time_left_is_no_alarm(
    check: Check, served: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check("9", served) == 0
    assert capsys.readouterr().out == ""
    metrics = dict(
        line.rsplit(" ", 1) for line in check.metrics.read_text().splitlines() if line[0] != "#"
    )
    labels = f'{{name="{NAME}",port="{served}"}}'
    assert metrics[f"hubstead_certificate_check_success{labels}"] == "1"
    end = float(metrics[f"hubstead_certificate_not_after_timestamp_seconds{labels}"])
    assert 9.9 < (end - time.time()) / 86400 <= 10
    # node-exporter, who reads it, is nobody in particular
    assert check.metrics.stat().st_mode & 0o777 == 0o644


def test_one_that_ends_soon_or_is_not_served_is(
    check: Check,
    served: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = free_port()
    assert check("11", served, silent) == 1
    soon, missing = capsys.readouterr().out.splitlines()
    assert soon.startswith(f"The certificate of {NAME} on port {served} ends in ")
    assert missing.endswith(f"on port {silent} cannot be had: nothing answers over TLS")
    assert f'check_success{{name="{NAME}",port="{silent}"}} 0\n' in check.metrics.read_text()
    # a warning in the journal (sd-daemon(3))
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert check("11", served) == 1
    assert capsys.readouterr().out.startswith("<4>The certificate")
