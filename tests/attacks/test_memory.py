"""Three people fill the memory that servers have together: everybody else goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from websocket import WebSocketException

from lab import cgroups
from tests.kit.hub_client import KernelError, patiently
from tests.kit.service import NAME, PASSWORD, Service, container
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

#: MiB: of the host, of all servers, of one
HOST, SERVERS, SERVER = 3072, 1536, 1024
#: Each of them is far from the limit of its server, and so are all of one person's
HOARD = """
import subprocess, sys
small = "x = bytearray(150 << 20); x[::4096] = bytes(len(x[::4096])); import time; time.sleep(40)"
for _ in range(6):
    subprocess.Popen([sys.executable, "-c", small])
print("begun")
"""
GREEDY, INNOCENT = ("ada", "bob", "carol"), "dave"
SERVING = "jupyterhub traefik docker hubstead-docker-filter postgresql@*.service ssh"


def limit(service: Service, memory: int | None) -> None:
    """The memory of the lab's host, in MiB."""
    for group in cgroups.make(service.lab.host(NAME).machine, memory):
        for name, unlimited in (("memory.limit_in_bytes", "-1"), ("memory.max", "max")):
            if memory is None and (group / name).exists():
                Path(group / name).write_text(unlimited)


@pytest.fixture
def cramped(service: Service) -> Iterator[None]:
    """A small host, whose servers may have half of it."""
    roles = "deploys/docker.py", "deploys/jupyterhub.py"
    data = f"hub_servers_memory={SERVERS}M", f"hub_memory_limit={SERVER}M"
    run = service.run("--data", data[0], "--data", data[1], *roles)
    assert run.status == 0, run.end
    for name in (*GREEDY, INNOCENT):
        # what ran before goes on as it was
        patiently(service.person(name).stop_server)
    # what other tests have read of files
    service.sudo("echo 3 >/proc/sys/vm/drop_caches || true")
    limit(service, HOST)
    yield
    limit(service, None)
    for name in (*GREEDY, INNOCENT):
        patiently(service.person(name).stop_server)
    assert service.run(*roles).status == 0


def main_processes(service: Service) -> str:
    return service.sudo(f"systemctl show --property Id,MainPID,NRestarts {SERVING}")


def hoarding(service: Service) -> int:
    """How many of the small processes live."""
    return int(service.sudo("pgrep --count --full '^[^ ]*python[^ ]* -c x = bytearray' || true"))


def test_a_full_slice_ends_what_filled_it(service: Service, cramped: None) -> None:
    visitor = service.visitor("erin")
    before = main_processes(service)
    service.person(INNOCENT)
    with ExitStack() as stack:
        kernels = [stack.enter_context(service.person(name).kernel()) for name in GREEDY]
        for kernel in kernels:
            # theirs may be what is ended
            with suppress(KernelError, WebSocketException, OSError):
                kernel.run(HOARD)
        time.sleep(5)
        assert hoarding(service) < 6 * len(GREEDY), "there was room for all"
        used = service.sudo("systemctl show --value --property MemoryCurrent hubstead-users.slice")
        assert int(used) <= SERVERS << 20
        visitor.log_in(PASSWORD)
    assert main_processes(service) == before
    eventually("there is room again", lambda: hoarding(service) == 0)
    # a server that was among what was ended starts again
    for name in (INNOCENT, *GREEDY):
        with service.person(name).kernel() as kernel:
            assert kernel.run("print(6*7)") == "42\n"
    assert main_processes(service) == before


def test_a_server_goes_before_the_hub(service: Service) -> None:
    """Where the whole host is full, the kernel weighs by this (proc_pid_oom_score_adj(5)).

    The lab's hosts may lower it for nobody; systemd goes on without then.
    """
    service.person(INNOCENT)
    units = "jupyterhub traefik hubstead-docker-filter docker postgresql@*.service"
    show = f"systemctl show --value --property OOMScoreAdjust {units}"
    scores = service.sudo(show).split()
    assert len(scores) == 5 and all(int(score) <= -500 for score in scores)
    process = f"docker inspect --format '{{{{.State.Pid}}}}' {container(INNOCENT)}"
    assert service.sudo(f"cat /proc/$({process})/oom_score_adj") == "500\n"
    within = service.sudo(f"cat /proc/$({process})/cgroup")
    assert "/hubstead.slice/hubstead-users.slice/docker-" in within
