"""Verify: what it promises of sshd, by its real scripts and a Docker that runs them here."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plans import DEBIAN_13, Plan

#: `docker run … python -c …` on this machine, where no firewall is
DOCKER = '#!/bin/sh\nwhile [ "$1" != python ]; do shift; done\nshift\nexec python3 "$@"\n'


@pytest.fixture
def api_port() -> Iterator[int]:
    """The port of a Hub that is well."""

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def sshd() -> Iterator[int]:
    """The port on which sshd listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def verify(plan: Plan, tmp_path: Path, api_port: int, port: int, **data: Any) -> str:
    """What ails the users' network, where sshd has `port`; empty when nothing does."""
    # the loopback plays the users' network
    data |= {"docker_subnet": "127.0.0.0/16", "hub_api_port": api_port}
    listeners = {str(port): [["sshd", "/system.slice/ssh.service"]]}
    run = plan("verify", DEBIAN_13 | {"listeners": listeners}, data)
    run.execute()
    (command,) = [command for command in run.sent.commands if "docker run" in command]
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    return subprocess.run(
        ["sh", "-c", command.removesuffix(" 30") + " 1"],
        env=os.environ | {"PATH": f"{docker.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_an_sshd_in_a_containers_reach_is_found_on_its_own_port(
    plan: Plan, tmp_path: Path, api_port: int, sshd: int
) -> None:
    reason = f"failed: a server reaches the sshd of its host at 127.0.0.1:{sshd}: the firewall"
    assert verify(plan, tmp_path, api_port, sshd).startswith(reason)


def test_without_a_firewall_nobody_promised_that(
    plan: Plan, tmp_path: Path, api_port: int, sshd: int
) -> None:
    assert verify(plan, tmp_path, api_port, sshd, firewall=False) == ""


def test_without_a_firewall_a_container_still_needs_the_hub(
    plan: Plan, tmp_path: Path, sshd: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    reason = verify(plan, tmp_path, port, sshd, firewall=False)
    assert reason.startswith("failed: a server cannot reach the Hub")


def test_sshd_is_tried_at_each_address_of_the_host_and_where_the_run_came_in(plan: Plan) -> None:
    """The run of these plans came to port 22, and eth0 has 192.0.2.4."""
    listeners = {
        "2222": [["sshd", "/system.slice/ssh.service"]],
        "443": [["traefik", "/system.slice/traefik.service"]],
    }
    run = plan("verify", DEBIAN_13 | {"listeners": listeners})
    run.execute()
    (command,) = [command for command in run.sent.commands if "docker run" in command]
    targets = "172.30.0.1:22 192.0.2.4:22 172.30.0.1:2222 192.0.2.4:2222"
    assert f" {targets})" in command
