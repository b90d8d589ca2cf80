"""The hosts of one checkout: what the lab's commands are made of."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lab import acme, container, image, network, pool, snapshots, state
from lab.inventory import Spec
from lab.snapshots import Snapshot
from lab.state import LabError, Record

PROJECT = Path(__file__).resolve().parent.parent


class Checkout:
    """Records, disks and boots; whoever changes them holds the lock (lab.state.locked).

    `progress` gets a line whenever something that takes time begins or ends.
    """

    def __init__(
        self, project: Path = PROJECT, progress: Callable[[str], None] | None = None
    ) -> None:
        self.project = project.resolve()
        self.directory = self.project / ".lab"
        self._started = time.monotonic()
        self._progress = progress or self._print

    def hosts(self) -> list[Record]:
        """This checkout's hosts, running or not."""
        return [record for record in state.records() if record.project == str(self.project)]

    def host(self, name: str) -> Record:
        for record in self.hosts():
            if record.name == name:
                return record
        names = ", ".join(record.name for record in self.hosts()) or "none"
        raise LabError(f"There is no lab host {name} here. Up are: {names}.")

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

    def _bury_orphans(self) -> None:
        """Remove hosts whose checkout was deleted: nobody else can."""
        for record in state.records():
            if not Path(record.project).is_dir():
                self._remove(record)

    def _leave(self, keep_snapshots: bool) -> None:
        """Nothing of the lab stays on a machine without hosts."""
        if not state.records() and not state.older():
            network.down()
            pool.down(keep_snapshots)
            state.forget()

    def _remove(self, record: Record) -> None:
        network.unroute(record)
        container.remove(record)
        self._progress(f"{record.name} is gone")

    def _records(self, specs: Iterable[Spec], file: Path) -> list[Record]:
        taken = [record.number for record in (*state.records(), *state.older())]
        new = []
        for spec in specs:
            taken.append(state.free_number(spec.name, taken))
            new.append(
                Record(
                    name=spec.name,
                    number=taken[-1],
                    os=spec.os,
                    memory=spec.memory,
                    addresses=spec.addresses,
                    names=spec.names,
                    helper=spec.helper,
                    inventory=str(file),
                    project=str(self.project),
                )
            )
        return new

    def _acme_helper(self) -> Record:
        """This checkout's ACME server, new or as it is; a module stands for its inventory."""
        known = [record for record in self.hosts() if record.helper]
        return known[0] if known else self._records([acme.HELPER], Path(acme.__file__))[0]

    def _rename(self, record: Record, names: tuple[str, ...]) -> Record:
        """The host with the further names that its inventory has now."""
        if record.names != names:
            record = replace(record, names=names)
            record.save()
        return record

    def _key(self, file: Path, hosts: Sequence[Spec | Record], settings: str) -> str:
        return snapshots.key(self.project, file, hosts, state.authorities(self.hosts()), settings)

    def _place(self, snapshot: Snapshot, hosts: list[Record]) -> None:
        """Give hosts the disks of a snapshot."""
        moved = [host.name for host in hosts if snapshot.numbers[host.name] != host.number]
        if moved and len(hosts) > 1:
            raise LabError(
                f"{', '.join(moved)} would have another address than in the snapshot "
                f"{snapshot.name}, and the others know the old one."
            )
        snapshots.check_secrets(snapshot, self.project)
        for host in hosts:
            container.wipe(host)
            snapshots.place(snapshot, host, self.project)
            self._progress(f"{host.name} is as in the snapshot {snapshot.name}")

    def _make(self, record: Record) -> Record:
        """The host with a disk: the one that it has, or a fresh one."""
        record = replace(record, image=str(image.ensure(record.os, self._progress)))
        record.save()
        if not record.root.exists():
            container.make_root(record, state.ensure_key(self.directory))
            self._progress(f"{record.name} has a fresh {record.os}")
        return record

    def _boot(self, records: list[Record]) -> None:
        for record in records:
            container.kill(record)
            container.connect(record)
            container.boot(record)

    def _wait(self, records: list[Record]) -> None:
        for record in records:
            container.wait(record, self.ssh_command(), self._progress)

    def _start_helpers(self, records: list[Record]) -> None:
        for record in records:
            if record.helper == "acme":
                self._progress(f"{record.name} serves {acme.install(self, record)}")

    def _refresh(self) -> None:
        """Bring what depends on which hosts there are up to date: names, routes, .lab."""
        everyone = [record for record in state.records() if record.root.exists()]
        if everyone:
            network.route(everyone)
        own = [record for record in everyone if record.project == str(self.project)]
        for record in own:
            container.refresh_names(record, own)
        if not own:
            shutil.rmtree(self.directory, ignore_errors=True)
            return
        public_key = state.ensure_key(self.directory)
        for record in own:
            container.authorize(record, public_key)
        archives = {record.os: record.image for record in own}
        keys = {record: container.public_host_key(record) for record in own}
        state.describe(self.directory, keys, archives)
