"""Whether this machine can have lab hosts at all."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lab import pool, state
from lab.inventory import Spec
from lab.state import LabError, Record

TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "setsid": "util-linux",
}
DISK = 6 * 1024**3  # bytes a host: packages, releases, and an image with its layers
MEMORY = 1024  # MiB a host, unless it has a limit of its own


def check_machine() -> None:
    """Raise LabError unless this is root on a machine that has the tools."""
    if os.geteuid() != 0:
        raise LabError("The lab boots containers and makes a bridge: run it as root, with sudo.")
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if missing:
        raise LabError(
            f"The lab needs tools that are missing here: apt-get install {' '.join(missing)}"
        )


def needed(specs: list[Spec]) -> int:
    """Bytes of disk that new hosts need."""
    return DISK * len(specs)


def check_room(specs: list[Spec]) -> None:
    """Raise LabError when the new hosts cannot fit on the disk or in memory."""
    free = pool.free()
    if free < needed(specs):
        raise LabError(
            f"{len(specs)} new hosts need {needed(specs) / 1024**3:.0f} GiB of disk, and "
            f"{state.STATE} has {free / 1024**3:.1f}. Free some, or point HUBSTEAD_LAB_STATE at a "
            "directory on a larger disk."
        )
    need = sum(spec.memory or MEMORY for spec in specs)
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) // 1024
    if available < need:
        raise LabError(
            f"{len(specs)} new hosts need {need} MiB of memory, and this machine has {available} "
            "available. Stop something, or boot fewer hosts at once."
        )


def check_known(spec: Spec, record: Record, inventory: Path) -> None:
    """Raise LabError when a name that is up already means another host than the one asked for."""
    if record.inventory != str(inventory):
        raise LabError(
            f"{spec.name} is already up for {record.inventory}. Remove that first: "
            f"python -m lab down {record.inventory}"
        )
    fixed = ("os", "memory", "addresses")
    if any(getattr(spec, field) != getattr(record, field) for field in fixed):
        raise LabError(
            f"{spec.name} is already up with other settings (lab_os, lab_memory, lab_addresses). "
            f"Remove it first: python -m lab down {record.inventory}"
        )


def check_addresses(specs: Iterable[Spec], others: Iterable[Record]) -> None:
    """Raise LabError when a further address would be played by two hosts of this machine.

    + others: the hosts of all checkouts but those that the specs mean.
    """
    players = {address: other for other in others for address in other.addresses}
    for spec in specs:
        for address in spec.addresses:
            if address in players:
                other = players[address]
                raise LabError(
                    f"{spec.name} cannot play {address}: {other.name} of {other.project} does, and "
                    "packets go to one of them. Wait until that host is down."
                )


def check_names(specs: Iterable[Spec], others: Iterable[Record]) -> None:
    """Raise LabError when two hosts would have the same name."""
    owners: dict[str, str] = {}
    hosts: list[Spec | Record] = [*others, *specs]
    for host in hosts:
        for name in (host.name, *host.names):
            if owners.setdefault(name, host.name) != host.name:
                raise LabError(
                    f"{name} is a name of two lab hosts, {owners[name]} and {host.name}."
                )
