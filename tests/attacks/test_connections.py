"""Somebody holds as many connections as they can get: others come in, and kernels go on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kit.service import NAME, Service

pytestmark = pytest.mark.slow

#: Opens connections to ADDRESS PORT until one is refused or there are MANY; says how many it holds,
#: and holds them until its input ends
HOARD = """
import resource, socket, sys
address, port, many = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
held = []
try:
    while len(held) < many:
        held.append(socket.create_connection((address, port), timeout=10))
except OSError:
    pass
print(len(held), flush=True)
sys.stdin.read()
"""
GATEWAY, HUB = "172.30.0.1", 8081


@contextmanager
def hoarded(address: str, port: int, many: int) -> Iterator[int]:
    """From this machine, which is one address among those of the internet."""
    command = [sys.executable, "-c", HOARD, address, str(port), str(many)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as hoarder:
        assert hoarder.stdout
        yield int(hoarder.stdout.readline())
        hoarder.communicate("")


def test_a_stranger_gets_so_many_and_others_come_in(service: Service) -> None:
    curl = "curl -sS -o /dev/null -w '%{http_code}' --cacert /etc/hubstead/tls/ca.pem"
    with hoarded(service.address, 443, 5000) as held:
        assert 4000 <= held <= 4096
        # from another address
        assert service.sudo(f"{curl} https://{NAME}/hub/login") == "200"
    service.check_works()


def test_a_class_behind_one_address_passes(service: Service) -> None:
    with hoarded(service.address, 443, 1000) as held:
        assert held == 1000
        service.check_works()


def test_a_server_gets_so_many_of_the_hub_and_others_log_in(service: Service) -> None:
    code = (
        "import subprocess, sys\n"
        f"hoard = subprocess.Popen([sys.executable, '-c', {HOARD!r}, '{GATEWAY}', '{HUB}', '1000'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "print(hoard.stdout.readline())"
    )
    with service.person("alice").kernel() as kernel:
        held = int(kernel.run(code))
        assert 200 <= held <= 256
        service.check_works()
        kernel.run("hoard.kill(); hoard.wait()")
        assert kernel.run("print(6*7)") == "42\n"


def test_the_hub_may_have_a_file_for_each(service: Service) -> None:
    limit = service.sudo("systemctl show -P LimitNOFILESoft jupyterhub").strip()
    assert int(limit) >= 65536
