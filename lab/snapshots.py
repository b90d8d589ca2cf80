"""Snapshots: what the disks of some hosts were at a moment, as a power cut would have left them.

A snapshot's key says what made it: the tree that is deployed, the inventory, base images, the
lab itself, and what the caller adds. What another key made is stale.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import image, pool
from lab.inventory import Spec
from lab.state import LabError, Record, write

#: Bytes that hosts and snapshots may take together before the oldest snapshots go
LIMIT = 40 * 1024**3
#: What of the project decides how a host ends up
TREE = (
    "config.py", "deploys", "group_data", "hubstead", "lab", "locks", "programs", "services",
    "templates", "requirements.txt",
)  # fmt: skip


@dataclass(frozen=True)
class Snapshot:
    """Some hosts' disks. `numbers` has the addresses' last parts, by the name of the host;
    `note` is whatever the caller keeps with it."""

    name: str
    key: str
    numbers: dict[str, int]
    note: str = ""

    @property
    def directory(self) -> Path:
        return _directory(self.name, self.key, self.numbers)

    @property
    def used(self) -> float:
        """Seconds since the epoch at which it was taken or restored last."""
        return (self.directory / "snapshot.json").stat().st_mtime


def _directory(name: str, key: str, hosts: Iterable[str]) -> Path:
    digest = hashlib.sha256(repr((name, key, sorted(hosts))).encode()).hexdigest()[:16]
    return pool.directory() / "snapshots" / digest


def key(
    project: Path,
    inventory: Path,
    hosts: Iterable[Spec | Record],
    authorities: Iterable[Path],
    settings: str,
) -> str:
    """What makes hosts end up as they do; `settings` is what a deploy gets beside the tree.

    + authorities: what the hosts are told to trust.
    """
    digest = hashlib.sha256(settings.encode())
    for root in (*(project / part for part in TREE), inventory, *authorities):
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"\n{file.relative_to(root.parent)}\n".encode())
                digest.update(file.read_bytes())
    for host in sorted(hosts, key=lambda host: host.name):
        made = (host.name, image.archive(host.os).name, host.memory, host.addresses, host.names)
        digest.update(repr(made).encode())
    return digest.hexdigest()


def all() -> list[Snapshot]:
    """Those in the pool, the newest first."""
    found = [
        Snapshot(**json.loads(path.read_text()))
        for path in pool.directory().glob("snapshots/*/snapshot.json")
    ]
    return sorted(found, key=lambda snapshot: snapshot.used, reverse=True)


def find(name: str, key: str, hosts: Iterable[str]) -> Snapshot | None:
    path = _directory(name, key, hosts) / "snapshot.json"
    return Snapshot(**json.loads(path.read_text())) if path.exists() else None


def take(name: str, key: str, hosts: Sequence[Record], project: Path, note: str = "") -> Snapshot:
    """Copy the disks of hosts, and the secrets of this machine that belong to them."""
    snapshot = Snapshot(name, key, {host.name: host.number for host in hosts}, note)
    delete(snapshot)
    snapshot.directory.mkdir()
    for host in hosts:
        pool.copy(host.disk, snapshot.directory / host.name)
        if secrets(project, host.name).exists():
            shutil.copy2(secrets(project, host.name), snapshot.directory / f"{host.name}.json")
    # last: a snapshot without this file is not one
    write(snapshot.directory / "snapshot.json", json.dumps(asdict(snapshot)), 0o600)
    return snapshot


def place(snapshot: Snapshot, host: Record, project: Path) -> None:
    """Give a host, which is down and has no disk, the one that the snapshot has of it."""
    pool.copy(snapshot.directory / host.name, host.disk)
    kept = snapshot.directory / f"{host.name}.json"
    if kept.exists():
        secrets(project, host.name).parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copy2(kept, secrets(project, host.name))
    (snapshot.directory / "snapshot.json").touch()


def check_secrets(snapshot: Snapshot, project: Path) -> None:
    """Raise LabError where this machine has secrets that the snapshot would overwrite."""
    for name in snapshot.numbers:
        kept, own = snapshot.directory / f"{name}.json", secrets(project, name)
        if own.exists() and not (kept.exists() and kept.read_bytes() == own.read_bytes()):
            raise LabError(
                f"{own} has other secrets than the snapshot {snapshot.name} of {name}: move it "
                "away, unless a real host has them."
            )


def secrets(project: Path, name: str) -> Path:
    """Where a deploy keeps the secrets of a hub host (hubstead.secrets)."""
    return project / ".secrets" / f"{name}.json"


def delete(snapshot: Snapshot) -> None:
    (snapshot.directory / "snapshot.json").unlink(missing_ok=True)
    for path in snapshot.directory.glob("*"):
        pool.delete(path) if path.is_dir() else path.unlink()
    if snapshot.directory.exists():
        snapshot.directory.rmdir()


def trim(room: int = 0) -> list[Snapshot]:
    """Delete the oldest until the rest is within the limit, and `room` bytes are free."""

    def fits() -> bool:
        return pool.used() <= LIMIT and pool.free() >= room

    gone: list[Snapshot] = []
    for snapshot in reversed(all()):
        if fits():
            break
        pool.settle()
        if fits():
            break
        delete(snapshot)
        gone.append(snapshot)
    return gone


def describe(snapshot: Snapshot) -> str:
    """A line for a person."""
    age = time.strftime("%Y-%m-%d %H:%M", time.localtime(snapshot.used))
    return f"{snapshot.name:<28} {age}  {' '.join(snapshot.numbers)}"
