"""Control groups that hold a host's processes: one tree (v2), or one a controller (v1)."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PARENT = "hubstead-lab"
#: Of the processor for all hosts together, by cpu.shares (v1) and cpu.weight (v2), as much as four
#: groups have: else each process of this machine gets as much as all of them
SHARES, WEIGHT = 4096, 400


def _groups(name: str) -> list[Path]:
    if (ROOT / "cgroup.procs").exists():
        hierarchies = [ROOT]
    else:
        hierarchies = sorted(path.parent for path in ROOT.glob("*/cgroup.procs"))
    return [hierarchy / PARENT / name for hierarchy in hierarchies]


def make(name: str, memory: int | None) -> list[Path]:
    """A host's groups, in every hierarchy, with its limit of memory (MiB)."""
    groups = _groups(name)
    for group in groups:
        for path in (group.parent, group):
            path.mkdir(exist_ok=True)
            _pass_controllers(path)
        for limit in (group / "memory.limit_in_bytes", group / "memory.max"):  # v1, v2
            if memory and limit.exists():
                limit.write_text(str(memory * 1024 * 1024))
        for file, share in (("cpu.shares", SHARES), ("cpu.weight", WEIGHT)):
            if (group.parent / file).exists():
                (group.parent / file).write_text(str(share))
    return groups


def _pass_controllers(path: Path) -> None:
    """Make a new group's controllers usable in its children."""
    if (path / "cgroup.subtree_control").exists():
        for controller in (path / "cgroup.controllers").read_text().split():
            (path / "cgroup.subtree_control").write_text(f"+{controller}")
    if (path / "cpuset.cpus").exists() and (path / "cgroup.clone_children").exists():
        for file in ("cpuset.cpus", "cpuset.mems"):  # v1: empty in a new group
            (path / file).write_text((path.parent / file).read_text())
        (path / "cgroup.clone_children").write_text("1")


def kill(name: str) -> bool:
    """Kill what is in a host's groups; whether there was anything."""
    group = _groups(name)[0]  # a process is in one group of every hierarchy, so that one suffices
    pids: list[int] = []
    # groups go while they are looked at: os.walk passes over those, Path.rglob does not
    for directory, _, _ in os.walk(group):
        with suppress(OSError):
            pids += map(int, Path(directory, "cgroup.procs").read_text().split())
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


def remove(name: str) -> bool:
    """Remove a host's groups, and the lab's when it was the last; whether they are gone."""
    for group in _groups(name):
        if group.exists():
            command = ["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]
            subprocess.run(command, capture_output=True)
        with suppress(OSError):  # other hosts' groups are in it
            group.parent.rmdir()
    return not any(group.exists() for group in _groups(name))
