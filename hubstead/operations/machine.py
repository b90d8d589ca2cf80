"""What the host is: one fact, read once by each role that must fit the machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand


@dataclass(frozen=True)
class Listener:
    """A process that listens, and the unit of systemd that it belongs to; "" for none."""

    process: str
    unit: str

    def __str__(self) -> str:
        return f"{self.process} ({self.unit})" if self.unit else self.process


@dataclass(frozen=True)
class MachineState:
    """The host. `memory` is MiB; `listeners` maps a TCP port to who listens on it, and `outward`
    are those ports where somebody does so on another address than those of loopback.

    `bare`: nothing of Hubstead was ever put here. `roles` are those that a switch may make
    needless, as `hubstead.notes.claim` notes them down. `clock` are seconds since the epoch.
    `read_only` are directories that a run writes to and where nobody can.
    """

    os: str
    version: str
    codename: str
    architecture: str
    memory: int
    cores: int
    systemd: bool
    bare: bool
    listeners: dict[int, list[Listener]]
    roles: tuple[str, ...] = ()
    root: bool = True
    outward: frozenset[int] = frozenset()
    clock: float | None = None
    read_only: tuple[str, ...] = ()


_SCRIPT = """
import json, os, platform, re, time
release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
owners, listeners, outward = {}, {}, set()
roles = "/var/lib/hubstead/roles"
# /opt/hubstead alone may be its owner's, who has a disk for it
signs = roles, "/opt/hubstead/uv"
def cgroup(pid):
    lines = [line.rstrip().split(":", 2) for line in open(f"/proc/{pid}/cgroup")]
    groups = {controllers: path for _, controllers, path in lines}
    return groups.get("name=systemd", groups.get("", "/"))
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        process = open(f"/proc/{pid}/comm").read().strip(), cgroup(pid)
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:"):
                owners.setdefault(target, {})[process] = None
    except OSError:
        pass
for table in ("tcp", "tcp6"):
    if os.path.exists(f"/proc/net/{table}"):
        for line in open(f"/proc/net/{table}").readlines()[1:]:
            field = line.split()
            if field[3] == "0A":
                address, _, port = field[1].rpartition(":")
                port = int(port, 16)
                # each 32 bits in the order of the host's bytes: 127.0.0.0/8, also mapped, and ::1
                if not re.fullmatch("(0{16}FFFF0000)?.{6}7F|0{24}01000000", address):
                    outward.add(port)
                holders = owners.get(f"socket:[{field[9]}]", {("another process", ""): None})
                listeners.setdefault(port, {}).update(holders)
noted = os.listdir(roles) if os.path.isdir(roles) else []
# of people's servers in Docker there is no note
noted += ["docker"] if os.path.exists("/opt/hubstead/singleuser/Dockerfile") else []
print(json.dumps({
    "os": release["ID"].strip('"'), "version": release.get("VERSION_ID", "").strip('"'),
    "codename": release.get("VERSION_CODENAME", "").strip('"'),
    "architecture": platform.machine(), "cores": os.cpu_count(),
    "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
    "systemd": os.path.isdir("/run/systemd/system"),
    "bare": not any(map(os.path.exists, signs)),
    "listeners": {port: list(holders) for port, holders in listeners.items()},
    "outward": sorted(outward),
    "init": cgroup(1),
    "root": os.geteuid() == 0,
    "clock": time.time(),
    "read_only": [path for path in ("/etc", "/opt", "/usr/local", "/var", "/var/lib")
                  if os.path.isdir(path) and os.statvfs(path).f_flag & os.ST_RDONLY],
    "roles": sorted(noted)}))
"""


def unit_of(cgroup: str, top: str = "") -> str:
    """The unit of the system that a process belongs to, by its cgroup below systemd's; else "".

    Not a unit of a user's, or of a container's own systemd. Rule: sd_pid_get_unit(3).
    """
    for part in cgroup.removeprefix(top).split("/")[1:]:
        if not part.endswith(".slice"):
            return part if part.endswith((".service", ".scope")) else ""
    return ""


def _services(listeners: list[Listener]) -> list[Listener]:
    """Without systemd, which keeps the sockets that it hands out."""
    return [each for each in listeners if each.unit != "init.scope"] or listeners


def parse_machine(text: str) -> MachineState:
    """The state from the JSON document that the command of `Machine` prints."""
    document: dict[str, Any] = json.loads(text)
    top = document.pop("init").removesuffix("/init.scope")
    listeners = {
        int(port): _services([Listener(name, unit_of(cgroup, top)) for name, cgroup in holders])
        for port, holders in document.pop("listeners").items()
    }
    roles = tuple(document.pop("roles", ()))
    outward = frozenset(document.pop("outward", ()))
    read_only = tuple(document.pop("read_only", ()))
    return MachineState(
        listeners=listeners, roles=roles, outward=outward, read_only=read_only, **document
    )


class Machine(FactBase[MachineState]):
    """What the host is and has. It needs Python 3 there, which a bare host has."""

    def command(self) -> StringCommand:
        return StringCommand("python3", "-c", QuoteString(_SCRIPT))

    def process(self, output: list[str]) -> MachineState:
        try:
            return parse_machine(output[0])
        except (ValueError, TypeError) as error:
            raise FactProcessError(f"unreadable description of the host: {error}") from error
