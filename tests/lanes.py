"""Run the tests in lanes, side by side: `python -m tests.lanes [ARGUMENT OF PYTEST …]`.

Lab hosts wait more than they compute. Each lane takes the next group of modules when it is done
with one, in a copy of the tree of its own, whose lab hosts may have the same names as another's.
What one group made a snapshot of, another begins with. Without arguments: all tests.
"""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lab import Lab, network, state
from tests import timing

PROJECT = Path(__file__).parents[1]
LANES = int(os.environ.get("HUBSTEAD_LANES", "4"))
#: What no other group has
REST: tuple[str, ...] = ()
#: In the order in which they begin: first what others need, then what takes long and mostly waits,
#: beside what computes.
GROUPS = (
    ("converge/test_service.py", "converge/test_secrecy.py", "converge/test_drift.py"),
    ("converge/test_three_hosts.py",),
    ("converge/test_accounts.py",),
    ("attacks/test_bodies.py", "attacks/test_connections.py", "attacks/test_docker_filter.py",
     "attacks/test_addresses.py", "attacks/test_files.py", "attacks/test_guessing.py",
     "attacks/test_memory.py", "attacks/test_ports.py", "attacks/test_sessions.py"),
    ("converge/test_certificates.py", "converge/test_acme.py", "converge/test_dns.py"),
    ("converge/test_resilience.py", "faults/test_docker.py", "converge/test_limits.py"),
    ("converge/test_cut.py",),
    ("browser/test_browser.py", "browser/test_frames.py", "converge/test_chp.py",
     "converge/test_groups.py"),
    REST,
    ("converge/test_edges.py", "faults/test_postgres.py", "faults/test_owners_docker.py",
     "faults/test_root.py", "faults/test_disks.py", "faults/test_doctor.py"),
    ("browser/test_shared_lab.py", "converge/test_shared.py", "verify"),
    ("converge/test_reference_systems.py", "converge/test_integrable.py"),
    ("converge/test_fronts.py",),
    ("converge/test_upgrade.py", "faults/test_schema.py"),
    ("attacks/test_origins.py", "attacks/test_below_a_path.py"),
    # both have a host that plays the internet, and this machine has room for one
    ("converge/test_isolation.py", "converge/test_firewall.py"),
    ("faults/test_owners_host.py", "faults/test_bad_hosts.py", "faults/test_other_tastes.py"),
    ("converge/test_systemd_spawner.py",),
    ("converge/test_image.py", "converge/test_kernels.py"),
    ("converge/test_local.py",),
    ("converge/test_takeover.py",),
    ("converge/test_shared_three.py",),
    ("converge/test_removal.py",),
    ("converge/test_lab.py",),
    ("converge/test_packages.py", "converge/test_ldap.py"),
    ("faults/test_debian_upgrade.py",),
    ("faults/test_full_disk.py",),
)  # fmt: skip
#: pytest's own: no test was selected
NOTHING = 5


@dataclass
class Outcome:
    """How the groups ended."""

    counts: Counter[str] = field(default_factory=Counter)
    times: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def groups() -> list[tuple[str, ...]]:
    """Arguments of pytest that select each test once."""
    listed = [tuple(f"tests/{module}" for module in group) for group in GROUPS]
    rest = ("tests", *(f"--ignore={module}" for group in listed for module in group))
    return [group or rest for group in listed]


def lane(number: int, todo: queue.Queue[tuple[str, ...]], outcome: Outcome) -> None:
    """Take groups until there is none."""
    tree = copy(number)
    while True:
        try:
            group = todo.get_nowait()
        except queue.Empty:
            return
        times = tree / f".build/times-{len(outcome.times)}-{number}.json"
        outcome.times.append(times)
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *sys.argv[1:], *group],
            cwd=tree,
            env={
                **os.environ,
                "HUBSTEAD_KEEP": "1",
                "HUBSTEAD_HISTORY": str(PROJECT),
                timing.FILE: str(times),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        title = " ".join(word for word in group if not word.startswith("--"))
        output = done.stdout if done.returncode not in (0, NOTHING) else done.stdout[-300:]
        minutes, seconds = divmod(int(time.monotonic() - begun), 60)
        print(f"=== {title}: {minutes}:{seconds:02}\n{output}", flush=True)
        last = done.stdout.strip().rpartition("\n")[2]
        for count, what in re.findall(r"(\d+) (passed|failed|error|skipped)", last):
            outcome.counts[what] += int(count)
        if done.returncode not in (0, NOTHING):
            outcome.failed.append(title)


def copy(number: int) -> Path:
    """The tree for a lane: what git knows of it, and what it does not ignore."""
    tree = PROJECT / f".build/lane-{number}"
    script = (
        'rm -rf "$1" && mkdir -p "$1/.build" &&'
        " git ls-files -cmoz --exclude-standard | tar -c --null --ignore-failed-read -T - |"
        ' tar -xC "$1" && cd "$1" && git init -q && git add -A'
    )
    subprocess.run(["sh", "-euc", script, "sh", str(tree)], cwd=PROJECT, check=True)
    return tree


def traces() -> list[str]:
    """What the lab left on this machine, unless somebody's hosts are up."""
    if state.records():
        return []
    files = [state.STATE] if state.STATE.exists() else []
    found = {
        "a process": _lines("ps -eo stat,args", "systemd-nspawn --quiet"),
        "an interface": _lines("ip -o link", network.BRIDGE),
        "a firewall rule": _lines("iptables-save; ip6tables-save", "hubstead lab"),
        "a routing rule": _lines("ip rule", f"lookup {network.TABLE}"),
        "a mount": _lines("cat /proc/self/mounts", str(state.STATE)),
        "a loop device": _lines("losetup -a", str(state.STATE)),
        "a file": [str(file) for file in files],
    }
    return [f"{what} of the lab stays: {line}" for what, lines in found.items() for line in lines]


def _lines(command: str, sign: str) -> list[str]:
    """The lines that a command prints and that have a sign of the lab."""
    return [line for line in subprocess.getoutput(command).splitlines() if sign in line]


def main() -> int:
    todo: queue.Queue[tuple[str, ...]] = queue.Queue()
    for group in groups():
        todo.put(group)
    outcome = Outcome()
    lanes = [threading.Thread(target=lane, args=(number, todo, outcome)) for number in range(LANES)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    if not os.environ.get("HUBSTEAD_KEEP"):
        Lab().forget_snapshots()
        outcome.failed += traces()
    print("\n".join(timing.table(timing.read(path) for path in outcome.times if path.exists())))
    for title in outcome.failed:
        print(f"failed: {title}")
    bad = outcome.counts["failed"] + outcome.counts["error"]
    print(f"{outcome.counts['passed']} passed, {bad} failed, {outcome.counts['skipped']} skipped")
    return 1 if outcome.failed or not outcome.counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
