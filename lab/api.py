"""What one can do with lab hosts, for the command line and for tests."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import acme, container, inventory, network, pool, snapshots, state
from lab.checkout import Checkout
from lab.checks import check_addresses, check_known, check_machine, check_names, check_room, needed
from lab.inventory import Spec
from lab.snapshots import Snapshot
from lab.state import LabError, Record


class Lab(Checkout):
    """The lab hosts of one checkout; raises LabError for what the caller can mend."""

    def up(
        self, path: str | Path, snapshot: Snapshot | None = None, *, with_acme: bool = False
    ) -> list[Record]:
        """Boot the hosts that an inventory names; those already up stay as they are.

        The lab's ACME server comes with hosts that ask one, or are to be able to (`with_acme`).

        With a snapshot, all of them are as it has them. Raises LabError where one of its hosts
        cannot have the same address again, and there are several.
        """
        check_machine()
        file = Path(path).resolve()
        return self._up(file, inventory.read(file, self.project), snapshot, with_acme)

    def _up(
        self, file: Path, specs: list[Spec], snapshot: Snapshot | None, with_acme: bool
    ) -> list[Record]:
        with state.locked(self._progress):
            self._bury_orphans()
            known = {record.name: record for record in self.hosts()}
            for spec in specs:
                if spec.name in known:
                    check_known(spec, known[spec.name], file)
            named = {spec.name for spec in specs}
            check_names(specs, [record for name, record in known.items() if name not in named])
            own = [known[name] for name in named if name in known]
            check_addresses(specs, [record for record in state.records() if record not in own])
            fresh = [spec for spec in specs if spec.name not in known]
            network.up()
            pool.up(self._progress)
            for gone in snapshots.trim(needed(fresh)):
                self._progress(f"the snapshot {gone.name} made room")
            check_room(fresh)
            wanted = [self._rename(known[s.name], s.names) for s in specs if s.name in known]
            wanted += self._records(fresh, file)
            if snapshot:
                self._place(snapshot, wanted)
            wanted = [self._make(record) for record in wanted]
            asking = {spec.name for spec in specs if spec.acme or with_acme}
            for record in wanted:
                acme.note(record, record.name in asking)
            helpers = [self._make(self._acme_helper())] if asking else []
            both = [*wanted, *helpers]
            stopped = [record for record in both if not container.is_running(record)]
            self._refresh()
            self._boot(stopped)
        self._wait(both)
        self._start_helpers(helpers)
        return wanted

    def down(self, path: str | Path | None = None, *, keep_snapshots: bool = False) -> None:
        """Remove every trace of an inventory's hosts, or of all hosts of this checkout.

        The last host of this machine takes all snapshots with it, unless they are to be kept.
        """
        check_machine()
        with state.locked(self._progress):
            self._bury_orphans()
            own = self.hosts()
            if path is not None:
                file = Path(path).resolve()
                own = [record for record in own if record.inventory == str(file)]
                if not own and not file.is_file():
                    raise LabError(f"There is no inventory {file}, and no host of it is up.")
            for record in own:
                self._remove(record)
            for record in acme.idle(self.hosts()):
                self._remove(record)
            self._refresh()
            self._leave(keep_snapshots)

    def forget_snapshots(self) -> None:
        """Delete what `down` kept, unless hosts of this machine are up."""
        if pool.is_kept():
            check_machine()
            with state.locked(self._progress):
                self._leave(keep_snapshots=False)

    def snapshot(
        self, names: Sequence[str], name: str, *, settings: str = "", note: str = ""
    ) -> Snapshot:
        """Copy the disks of hosts, which go on; of running ones, as a power cut would leave them.

        + settings: what they were deployed with beside the tree and the inventory.
        + note: a text that is kept with it.
        """
        check_machine()
        hosts = [self.host(of) for of in names]
        with state.locked(self._progress):
            # a plain copy is not of one moment
            running = [] if pool.is_btrfs() else [h for h in hosts if container.is_running(h)]
            for host in running:
                container.kill(host)
            key = self._key(Path(hosts[0].inventory), hosts, settings)
            taken = snapshots.take(name, key, hosts, self.project, note)
            self._boot(running)
        self._wait(running)
        self._progress(f"the snapshot {name} of {', '.join(names)} is taken")
        return taken

    def _find(self, name: str, file: Path, specs: list[Spec], settings: str) -> Snapshot | None:
        """The snapshot of an inventory's hosts that the same made which would make it now."""
        with state.locked(self._progress):
            if not self.hosts() and not state.STATE.exists():
                return None
            pool.up(self._progress)
            key = self._key(file, specs, settings)
            return snapshots.find(name, key, [spec.name for spec in specs])

    def reach(
        self, path: str | Path, name: str, make: Callable[[], str], *, settings: str = ""
    ) -> str:
        """Have an inventory's hosts in a state: from its snapshot, or made from bare hosts.

        + make: brings bare hosts to the state, and returns a note that is kept with it.
        + settings: what `make` deploys with beside the tree and the inventory.

        Returns the note of whoever made the state.
        """
        check_machine()
        file = Path(path).resolve()
        with state.alone_with(f"{file.name} {name}"):
            specs = inventory.read(file, self.project)
            found = self._find(name, file, specs, settings)
            if found:
                try:
                    self._up(file, specs, found, with_acme=False)
                    return found.note
                except LabError as error:
                    self._progress(f"not from the snapshot {name}: {error}")
            self.down(file, keep_snapshots=True)
            hosts = self._up(file, specs, None, with_acme=False)
            note = make()
            self.snapshot([host.name for host in hosts], name, settings=settings, note=note)
        return note

    def restore(self, of: str, name: str, *, stale: bool = False) -> None:
        """Have a host as it was at the snapshot `name`, the newest of that name.

        Raises LabError where there is none, and for one that something else made than would make
        it now, unless `stale` ones will do.
        """
        check_machine()
        host = self.host(of)
        with state.locked(self._progress):
            found = [s for s in snapshots.all() if s.name == name and list(s.numbers) == [of]]
            if not found:
                names = sorted({s.name for s in snapshots.all() if list(s.numbers) == [of]})
                raise LabError(
                    f"{of} has no snapshot {name}. It has: {', '.join(names) or 'none'}."
                )
            key = self._key(Path(host.inventory), [host], "")
            same = [snapshot for snapshot in found if snapshot.key == key]
            if not same and not stale:
                raise LabError(
                    f"The snapshot {name} of {of} is stale: the tree or the inventory is another "
                    "by now. Take it all the same with --stale, or make it again."
                )
            self._place((same or found)[0], [host])
            self._refresh()
            self._boot([host])
        self._wait([host])
        self._start_helpers([host])

    def snapshots(self) -> list[Snapshot]:
        """Those of all checkouts, the newest first."""
        return snapshots.all()

    def is_running(self, name: str) -> bool:
        return container.is_running(self.host(name))

    def reset(self, name: str) -> None:
        """The host is bare again, under the same name and address, with new host keys."""
        check_machine()
        record = self.host(name)
        with state.locked(self._progress):
            pool.up(self._progress)
            container.wipe(record)
            self._make(record)
            self._refresh()
            self._boot([record])
        self._wait([record])
        self._start_helpers([record])

    def cut(self, name: str, *, stay_down: bool = False) -> None:
        """Cut the host's power, and give it back unless it shall stay down."""
        check_machine()
        record = self.host(name)
        with state.locked(self._progress):
            container.kill(record)
            self._progress(f"{name} has lost its power")
        if not stay_down:
            self.start(name)

    def start(self, name: str) -> None:
        """Boot a host whose power was cut, or that was shut down."""
        check_machine()
        record = self.host(name)
        with state.locked(self._progress):
            if not container.is_running(record):
                network.up()
                pool.up(self._progress)
                self._refresh()
                self._boot([record])
        self._wait([record])

    def reboot(self, name: str) -> None:
        """Reboot as `systemctl reboot` does, and wait until the host is back."""
        record = self.host(name)
        if not container.is_running(record):
            raise LabError(f"{name} is not running. Boot it with: python -m lab start {name}")
        before = self._boot_id(name)
        self.run(name, "sudo systemctl reboot", check=False)
        self._progress(f"{name} is shutting down")
        deadline = time.monotonic() + 120
        while self._boot_id(name) in ("", before):
            if time.monotonic() > deadline:
                raise LabError(f"{name} did not reboot within 120 s. See {record.console}.")
            time.sleep(0.3)
        self._wait([record])

    def unplug(self, name: str) -> None:
        """Pull the host's network cable."""
        check_machine()
        network.unplug(self.host(name))

    def plug(self, name: str) -> None:
        """Put the network cable back."""
        check_machine()
        network.plug(self.host(name))

    def _boot_id(self, name: str) -> str:
        return self.run(name, "cat /proc/sys/kernel/random/boot_id", check=False).stdout
