"""Where disks lie, and what they were."""

import os
from pathlib import Path

import pytest

from lab import api, pool, snapshots, state
from lab.inventory import Spec
from lab.state import LabError, Record
from tests.unit.lab.records import record


def test_a_pool_that_cannot_be_mounted_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda tool: tool)
    state.STATE.mkdir()
    file = state.STATE / "pool.btrfs"
    file.write_text("no file system")
    with pytest.raises(LabError, match="cannot be mounted"):
        pool.up(lambda line: None)
    assert file.read_text() == "no file system"


class TestSnapshots:
    """In plain directories; tests/converge/test_lab.py has btrfs, and hosts."""

    @pytest.fixture(autouse=True)
    def _pool(self) -> None:
        for part in ("hosts", "images", "snapshots"):
            (pool.directory() / part).mkdir(parents=True)

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        (tmp_path / "project/hubstead").mkdir(parents=True)
        (tmp_path / "project/hubstead/role.py").write_text("one\n")
        (tmp_path / "project/inventory.py").write_text('hub = ["hub.example.org"]\n')
        return tmp_path / "project"

    def host(self, project: Path, name: str = "hub.example.org", number: int = 10) -> Record:
        host = record(name, number, project=str(project))
        host.root.mkdir(parents=True)
        (host.root / "file").write_text(f"of {name}\n")
        return host

    def key(self, project: Path, host: Record | Spec, settings: str = "") -> str:
        return snapshots.key(project, project / "inventory.py", [host], [], settings)

    def test_a_host_is_as_it_was_with_its_secrets(self, project: Path) -> None:
        host = self.host(project)
        secrets = snapshots.secrets(project, host.name)
        secrets.parent.mkdir()
        secrets.write_text("{}")
        secrets.chmod(0o600)
        taken = snapshots.take("deployed", "key", [host], project, "a note")
        (host.root / "file").unlink()
        secrets.unlink()
        pool.delete(host.disk)
        found = snapshots.find("deployed", "key", [host.name])
        assert found == taken and found.note == "a note"
        snapshots.place(found, host, project)
        assert (host.root / "file").read_text() == "of hub.example.org\n"
        assert (secrets.read_text(), secrets.stat().st_mode & 0o777) == ("{}", 0o600)

    def test_other_secrets_are_not_overwritten(self, project: Path) -> None:
        host = self.host(project)
        taken = snapshots.take("deployed", "key", [host], project)
        secrets = snapshots.secrets(project, host.name)
        secrets.parent.mkdir()
        secrets.write_text("of a real host")
        with pytest.raises(LabError, match="unless a real host has them"):
            snapshots.check_secrets(taken, project)

    def test_its_key_is_what_made_it(self, project: Path) -> None:
        host = self.host(project)
        key = self.key(project, host)
        assert key == self.key(project, Spec(host.name))
        assert key != self.key(project, host, "proxy=chp")
        assert key != self.key(project, Spec(host.name, os="bookworm"))
        assert key != self.key(project, Spec(host.name, names=("www.example.org",)))
        (project / "README.md").write_text("no part of a host\n")
        assert key == self.key(project, host)
        (project / "hubstead/role.py").write_text("two\n")
        edited = self.key(project, host)
        (project / "inventory.py").write_text("hub = []\n")
        assert len({key, edited, self.key(project, host)}) == 3

    def test_the_oldest_make_room(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        host = self.host(project)
        (host.root / "file").write_bytes(bytes(1 << 20))
        for age, name in enumerate(("new", "old", "older")):
            taken = snapshots.take(name, "key", [host], project)
            os.utime(taken.directory / "snapshot.json", (1000 - age, 1000 - age))
        monkeypatch.setattr(snapshots, "LIMIT", pool.used() - (1 << 19))
        assert [snapshot.name for snapshot in snapshots.trim()] == ["older"]
        assert [snapshot.name for snapshot in snapshots.all()] == ["new", "old"]

    def test_one_that_was_cut_while_it_was_taken_is_none(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = self.host(project)
        monkeypatch.setattr(snapshots, "write", lambda *arguments: None)
        snapshots.take("deployed", "key", [host], project)
        assert snapshots.find("deployed", "key", [host.name]) is None
        assert snapshots.all() == []

    def test_hosts_that_know_each_others_addresses_need_the_same_ones(self, project: Path) -> None:
        hosts = [self.host(project), self.host(project, "db.example.org", 11)]
        taken = snapshots.take("deployed", "key", hosts, project)
        lab = api.Lab(project, progress=lambda line: None)
        moved = [hosts[0], record("db.example.org", 12, project=str(project))]
        with pytest.raises(LabError, match=r"^db\.example\.org would have another address"):
            lab._place(taken, moved)
