"""What one can do with lab hosts, for the command line and for tests."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from lab import host as hosts
from lab import image, inventory, network, state
from lab.inventory import Spec
from lab.state import LabError, Record

PROJECT = Path(__file__).resolve().parent.parent
CERTIFICATES = Path("/usr/local/share/ca-certificates")
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


class Lab:
    """The lab hosts of one checkout; raises LabError for what the caller can mend.

    `progress` gets a line whenever something that takes time begins or ends.
    """

    def __init__(
        self, project: Path = PROJECT, progress: Callable[[str], None] | None = None
    ) -> None:
        self.project = project.resolve()
        self.directory = self.project / ".lab"
        self._started = time.monotonic()
        self._progress = progress or self._print

    def up(self, path: str | Path) -> list[Record]:
        """Boot the hosts that an inventory names; those already up stay as they are."""
        check_machine()
        file = self._inventory(path)
        specs = inventory.read(file, self.project)
        with state.locked():
            known = {record.name: record for record in state.records()}
            for spec in specs:
                self._check_known(spec, known.get(spec.name), file)
            fresh = [spec for spec in specs if spec.name not in known]
            check_room(fresh)
            wanted = [known[s.name] for s in specs if s.name in known] + self._records(fresh, file)
            stopped = [record for record in wanted if not hosts.is_running(record)]
            if stopped:
                network.up()
            for record in stopped:
                self._make(record)
            self._refresh()
            self._boot(stopped)
        return wanted

    def down(self, path: str | Path | None = None) -> None:
        """Remove every trace of an inventory's hosts, or of all hosts of this checkout."""
        check_machine()
        with state.locked():
            own = self.hosts()
            if path is not None:
                file = str(self._inventory(path))
                own = [record for record in own if record.inventory == file]
            for record in own:
                network.unroute(record)
                hosts.remove(record)
                self._progress(f"{record.name} is gone")
            self._refresh()
            if not state.records():
                network.down()

    def hosts(self) -> list[Record]:
        """This checkout's hosts, running or not."""
        return [record for record in state.records() if record.project == str(self.project)]

    def host(self, name: str) -> Record:
        for record in self.hosts():
            if record.name == name:
                return record
        names = ", ".join(record.name for record in self.hosts()) or "none"
        raise LabError(f"There is no lab host {name} here. Up are: {names}.")

    def is_running(self, name: str) -> bool:
        return hosts.is_running(self.host(name))

    def reset(self, name: str) -> None:
        """The host is bare again, under the same name and address, with new host keys."""
        check_machine()
        record = self.host(name)
        with state.locked():
            hosts.remove(record)
            self._make(record)
            self._refresh()
            self._boot([record])

    def cut(self, name: str, *, stay_down: bool = False) -> None:
        """Cut the host's power, and give it back unless it shall stay down."""
        check_machine()
        record = self.host(name)
        with state.locked():
            hosts.kill(record)
            self._progress(f"{name} has lost its power")
        if not stay_down:
            self.start(name)

    def start(self, name: str) -> None:
        """Boot a host whose power was cut, or that was shut down."""
        check_machine()
        record = self.host(name)
        with state.locked():
            if not hosts.is_running(record):
                network.up()
                self._refresh()
                self._boot([record])

    def reboot(self, name: str) -> None:
        """Reboot as `systemctl reboot` does, and wait until the host is back."""
        record = self.host(name)
        if not hosts.is_running(record):
            raise LabError(f"{name} is not running. Boot it with: python -m lab start {name}")
        before = self._boot_time(name)
        self.run(name, "sudo systemctl reboot", check=False)
        self._progress(f"{name} is shutting down")
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._boot_time(name) in ("", before):
            time.sleep(0.3)
        hosts.wait(record, self.ssh_command(), self._progress)

    def unplug(self, name: str) -> None:
        """Pull the host's network cable."""
        check_machine()
        network.unplug(self.host(name))

    def plug(self, name: str) -> None:
        """Put the network cable back."""
        check_machine()
        network.plug(self.host(name))

    def ssh_command(self) -> list[str]:
        return ["ssh", "-F", str(self.directory / "ssh_config")]

    def run(
        self, name: str, command: str, *, input: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host as `deploy`, and capture what it prints."""
        self.host(name)
        return subprocess.run(
            [*self.ssh_command(), "-o", "ConnectTimeout=5", "-o", "BatchMode=yes", name, command],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=check,
        )

    def _print(self, line: str) -> None:
        print(f"lab {time.monotonic() - self._started:5.1f} s  {line}", file=sys.stderr, flush=True)

    def _inventory(self, path: str | Path) -> Path:
        return Path(path).resolve()

    def _boot_time(self, name: str) -> str:
        return self.run(name, "systemctl show -P UserspaceTimestamp", check=False).stdout

    def _check_known(self, spec: Spec, record: Record | None, file: Path) -> None:
        if record is None:
            return
        if record.project != str(self.project):
            raise LabError(
                f"{spec.name} is already up for another checkout, {record.project}. Remove it there "
                "with `python -m lab down`, or give your host another name."
            )
        if record.inventory != str(file):
            raise LabError(
                f"{spec.name} is already up for {record.inventory}. Remove that first: "
                f"python -m lab down {record.inventory}"
            )
        if (spec.os, spec.memory, spec.addresses) != (record.os, record.memory, record.addresses):
            raise LabError(
                f"{spec.name} is already up with other settings (lab_os, lab_memory, lab_addresses). "
                f"Remove it first: python -m lab down {record.inventory}"
            )

    def _records(self, specs: Iterable[Spec], file: Path) -> list[Record]:
        taken = [record.number for record in state.records()]
        new = []
        for spec in specs:
            taken.append(state.free_number(taken))
            new.append(
                Record(
                    name=spec.name,
                    number=taken[-1],
                    os=spec.os,
                    memory=spec.memory,
                    addresses=spec.addresses,
                    inventory=str(file),
                    project=str(self.project),
                )
            )
        return new

    def _make(self, record: Record) -> None:
        image.ensure(record.os, self._progress)
        record.save()
        if not record.root.exists():
            hosts.make_root(record, state.ensure_key(self.directory))
            self._progress(f"{record.name} has a fresh {record.os}")

    def _boot(self, records: list[Record]) -> None:
        for record in records:
            hosts.kill(record)
            hosts.boot(record)
        for record in records:
            hosts.wait(record, self.ssh_command(), self._progress)

    def _refresh(self) -> None:
        """Bring what depends on which hosts there are up to date: names, routes, .lab."""
        everyone = [record for record in state.records() if record.root.exists()]
        for record in everyone:
            hosts.refresh_names(record, everyone)
        if everyone:
            network.route(everyone)
        own = [record for record in everyone if record.project == str(self.project)]
        if not own:
            shutil.rmtree(self.directory, ignore_errors=True)
            return
        archives = {record.os: image.archive(record.os) for record in own}
        keys = {record: hosts.public_host_key(record) for record in own}
        (self.directory / "group_data").mkdir(exist_ok=True)
        addresses = {record.name: record.address for record in own}
        certificates = sorted(CERTIFICATES.glob("*.crt"))
        data = state.group_data(self.directory, certificates, archives)
        for name, text in {
            "ssh_config": state.ssh_config(own, self.directory),
            "known_hosts": state.known_hosts(keys),
            "hosts.json": json.dumps(addresses, indent=2) + "\n",
            "group_data/all.py": data,
        }.items():
            state.write(self.directory / name, text)


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
