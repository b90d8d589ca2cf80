"""Where the disks of lab hosts lie: in one btrfs file, so that a copy of a disk takes a moment.

A disk is a subvolume, and the root file system a directory in it: systemd makes subvolumes of its
own where the root itself is one (tmpfiles.d(5), "v"), and a snapshot would leave those out. Where
this machine mounts no btrfs, a disk is a plain directory.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab import state
from lab.state import LabError

#: The file's size in bytes, as far as this machine's disk can hold it, and what is left to that.
#: The file is sparse, and what is deleted in it is given back (discard).
SIZE, RESERVE = 200 * 1024**3, 2 * 1024**3
#: Metadata are kept once: what a broken disk takes from a lab is made again
_FORMAT = ["mkfs.btrfs", "--quiet", "--metadata", "single"]
_OPTIONS = "loop,noatime,discard=async,commit=120"


_PARTS = ("hosts", "images", "snapshots")


def directory() -> Path:
    return state.STATE / "pool"


def _file() -> Path:
    return state.STATE / "pool.btrfs"


def is_btrfs() -> bool:
    return directory().is_mount()


def is_kept() -> bool:
    """Whether snapshots wait for the next hosts."""
    return _file().exists() or directory().exists()


def up(progress: Callable[[str], None]) -> None:
    """The pool is there: as it was left, or a new one."""
    pool = directory()
    pool.mkdir(parents=True, exist_ok=True)
    if is_btrfs():
        return
    if not any(pool.iterdir()):  # else somebody began with plain directories
        reason = _mount()
        if reason:
            progress(
                f"no btrfs here ({reason}): each snapshot is a plain copy, which takes its time"
            )
    for part in _PARTS:
        (pool / part).mkdir(exist_ok=True)


def _mount() -> str | None:
    """Mount the pool's file, which is made where it is missing; the reason when that fails.

    Raises LabError where there is one that cannot be mounted: hosts and snapshots are in it.
    """
    if not shutil.which("mkfs.btrfs"):
        return "no mkfs.btrfs: apt-get install btrfs-progs"
    file = _file()
    commands = [["mount", "-o", _OPTIONS, str(file), str(directory())]]
    known = file.exists()
    if not known:
        size = min(SIZE, shutil.disk_usage(state.STATE).free - RESERVE)
        commands[:0] = [["truncate", "--size", str(max(size, 0)), str(file)], [*_FORMAT, str(file)]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            reason = f"{command[0]}: {lines[-1] if lines else done.returncode}"
            if known:
                raise LabError(f"{file} cannot be mounted ({reason}). Delete it to begin anew.")
            file.unlink(missing_ok=True)
            return reason
    return None


def down(keep: bool) -> None:
    """Unmount the pool, and delete it unless its snapshots shall stay; no host may be in it."""
    pool = directory()
    if is_btrfs():
        _run("umount", str(pool))
    if not keep:
        _run("rm", "-rf", "--one-file-system", str(pool), str(_file()))


def create(disk: Path) -> None:
    """A new, empty disk."""
    delete(disk)
    if is_btrfs():
        _run("btrfs", "--quiet", "subvolume", "create", str(disk))
    else:
        disk.mkdir(parents=True)


def copy(disk: Path, new: Path) -> None:
    """A copy of a disk as it is at this moment, whole or not at all."""
    delete(new)
    if is_btrfs():
        _run("btrfs", "--quiet", "subvolume", "snapshot", str(disk), str(new))
        return
    part = new.with_name(f"{new.name}.new")
    delete(part)
    _run("cp", "-a", "--reflink=auto", str(disk), str(part))
    part.rename(new)


def delete(disk: Path) -> None:
    if not disk.exists():
        return
    if is_btrfs() and _is_subvolume(disk):
        _run("btrfs", "--quiet", "subvolume", "delete", str(disk))
    else:
        _run("rm", "-rf", "--one-file-system", str(disk))


def _is_subvolume(path: Path) -> bool:
    return path.stat().st_ino == 256  # BTRFS_FIRST_FREE_OBJECTID, btrfs(5)


def free() -> int:
    """Bytes that new hosts may take: of the pool, and of the disk below it."""
    below = shutil.disk_usage(state.STATE).free
    return min(below, shutil.disk_usage(directory()).free) if is_btrfs() else below


def used() -> int:
    """Bytes that the pool takes."""
    if is_btrfs():
        return shutil.disk_usage(directory()).used
    done = subprocess.run(
        ["du", "-sx", "-B1", str(directory())], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[0])


def settle(seconds: float = 30) -> None:
    """Wait, but not for long, until what was deleted has given its room back.

    btrfs cleans up behind the scenes, on a busy machine for minutes.
    """
    command = ["btrfs", "subvolume", "sync", str(directory())]
    with suppress(subprocess.TimeoutExpired):
        if is_btrfs():
            subprocess.run(command, capture_output=True, timeout=seconds)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
