"""Whether this machine can have lab hosts at all."""

import os
import shutil
from pathlib import Path

from lab import state
from lab.inventory import Spec
from lab.state import LabError

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


def check_room(specs: list[Spec]) -> None:
    """Raise LabError when the new hosts cannot fit on the disk or in memory."""
    state.STATE.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(state.STATE).free
    if free < DISK * len(specs):
        raise LabError(
            f"{len(specs)} new hosts need {DISK * len(specs) / 1024**3:.0f} GiB of disk, and "
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
