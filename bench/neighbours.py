"""Ten people work while one is at a limit: `python -m bench.neighbours`.

On a lab host with the whole service: what the p95 of their saves and logins is, at rest and with
somebody at each limit, side by side in one run. It measures and prints; that nobody's kernel ends
is what tests/attacks asserts.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import Lab
from tests.kit.hub_client import HubClient, Kernel
from tests.kit.service import INVENTORY, PASSWORD, Deployed, Service

#: What somebody runs in a cell until they are told to end; each goes on at its limit
LIMITS = {
    "nobody at a limit": "time.sleep(0.5)",
    "memory": """
# the former one goes first, or both together are past the limit, and the kernel ends
hoard = None
try:
    hoard = [bytearray(os.urandom(1 << 20)) for _ in range(1500)]
except MemoryError:
    pass""",
    "processes": """
started = []
try:
    while True:
        started.append(subprocess.Popen(["sleep", "60"]))
except BlockingIOError:
    pass
for each in started:
    each.kill()
    each.wait()""",
    "cpu": "end = time.monotonic() + 2\nwhile time.monotonic() < end: pass",
    "descriptors": """
held = []
try:
    while len(held) < 200_000:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for each in held:
    os.close(each)""",
    "/tmp": """
try:
    with open("/tmp/hoard", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
except OSError:
    os.unlink("/tmp/hoard")""",
    "disk, writing": """
with open("hoard", "wb") as file:
    for _ in range(500):
        file.write(os.urandom(1 << 20))
    os.fsync(file.fileno())
os.unlink("hoard")""",
}
_CELL = """
import os, subprocess, time
until = time.monotonic() + {seconds}
while time.monotonic() < until:
    {work}
"""


@dataclass(frozen=True)
class Bench:
    """How many people work, and for how many seconds at each limit."""

    people: int = 10
    seconds: float = 30

    def report(self, service: Service) -> str:
        """A line for each limit. The service is deployed."""
        people = [service.person(f"p{number}") for number in range(self.people)]
        newcomer = service.visitor("newcomer")
        eve = service.person("eve")
        lines = [f"{'at a limit':20} {'saves':>6} {'p95':>8}   {'logins':>6} {'p95':>8}"]
        for name, work in LIMITS.items():
            print(f"{name} …", flush=True)
            with eve.kernel() as kernel:
                saves, logins = self._meanwhile(kernel, work, people, newcomer)
            # what it still holds would be part of the next limit
            eve.server("DELETE", f"/kernels/{kernel.identity}")
            lines.append(
                f"{name:20} {len(saves):6} {p95(saves):6.0f} ms   "
                f"{len(logins):6} {p95(logins):6.0f} ms"
            )
        return "\n".join(lines)

    def _meanwhile(
        self, kernel: Kernel, work: str, people: list[HubClient], newcomer: HubClient
    ) -> tuple[list[float], list[float]]:
        """Seconds of each save and each login, while a cell is at a limit."""
        over = threading.Event()
        cell = _CELL.format(seconds=self.seconds, work=work.strip().replace("\n", "\n    "))

        def repeat(what: Callable[[], object], pause: float) -> list[float]:
            times = []
            while not over.is_set():
                begun = time.perf_counter()
                what()
                times.append(time.perf_counter() - begun)
                over.wait(pause)
            return times

        def save(person: HubClient) -> Callable[[], object]:
            return lambda: person.notebook("work.ipynb", f"'{time.time()}'")

        def log_in() -> None:
            HubClient(newcomer.site, newcomer.username).log_in(PASSWORD)

        with ThreadPoolExecutor(len(people) + 1) as pool:
            saving = [pool.submit(repeat, save(person), 1) for person in people]
            logging_in = pool.submit(repeat, log_in, 1)
            try:
                kernel.run(cell)
            finally:
                over.set()
            saves = [seconds for each in saving for seconds in each.result()]
            return saves, logging_in.result()


def p95(times: list[float]) -> float:
    """Milliseconds within which 95 of 100 were done."""
    return 1000 * sorted(times)[int(len(times) * 0.95)]


def main() -> None:
    lab = Lab()
    with tempfile.TemporaryDirectory() as directory:
        try:
            service = Deployed(lab, lambda: Path(directory)).service()
            print(Bench().report(service))
        finally:
            lab.down(INVENTORY, keep_snapshots=True)


if __name__ == "__main__":
    main()
