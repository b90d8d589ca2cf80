"""The parts of the lab that need no host."""

import os
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import acme, api, checkout, checks, image, inventory, network, pool, snapshots, state
from lab.__main__ import main
from lab.inventory import Spec
from lab.state import LabError, Record


@pytest.fixture(autouse=True)
def _machine_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "STATE", tmp_path / "state")
    monkeypatch.setattr(state, "LOCK", tmp_path / "lock")


def record(name: str = "hub.example.org", number: int = 10, **fields: Any) -> Record:
    defaults = {
        "os": "trixie",
        "memory": None,
        "addresses": (),
        "inventory": "/project/inventories/lab.py",
        "project": "/project",
    }
    return Record(name=name, number=number, **{**defaults, **fields})


class TestAddresses:
    def test_a_name_gets_the_same_one_where_that_is_free(self) -> None:
        own = state.free_number("hub.example.org", [])
        assert state.free_number("hub.example.org", [11]) == own
        assert state.free_number("hub.example.org", [own]) == (own - 10 + 1) % 245 + 10

    def test_there_are_245(self) -> None:
        every: list[int] = []
        for _ in range(245):
            every.append(state.free_number("hub.example.org", every))
        assert sorted(every) == list(range(10, 255))
        with pytest.raises(LabError, match="All 245 addresses"):
            state.free_number("hub.example.org", every)

    def test_both_families_and_the_interface_follow_from_the_number(self) -> None:
        host = record(number=254)
        assert host.address == "198.18.0.254"
        assert host.address6 == "2001:2::254"
        assert len(host.interface) < 16

    def test_records_outlive_the_process(self) -> None:
        further = {"addresses": ("169.254.169.254",), "names": ("db2.example.org",)}
        hosts = [record(helper="acme"), record("db.example.org", 11, memory=512, **further)]
        for host in reversed(hosts):
            host.save()
        assert state.records() == hosts


class TestHostsFile:
    def test_names_every_host_and_itself_in_short(self) -> None:
        own, other = record(), record("db.example.org", 11)
        text = state.hosts_file("127.0.0.1 localhost\n", own, [own, other])
        assert text.splitlines() == [
            "127.0.0.1 localhost",
            "# lab hosts, kept by the lab",
            "198.18.0.10 hub.example.org hub",
            "198.18.0.11 db.example.org",
            "# end of the lab hosts",
        ]

    def test_has_the_further_names_of_every_host(self) -> None:
        own = record(names=("www.example.org", "w3.example.org"))
        other = record("edge.example.net", 11, names=("w3.example.net",))
        assert state.hosts_file("", own, [own, other]).splitlines()[1:3] == [
            "198.18.0.10 hub.example.org hub www.example.org w3.example.org",
            "198.18.0.11 edge.example.net w3.example.net",
        ]

    def test_is_renewed_between_lines_of_others(self) -> None:
        own, other = record(), record("db.example.org", 11)
        text = state.hosts_file("127.0.0.1 localhost\n", own, [own, other]) + "10.0.0.1 mine\n"
        renewed = state.hosts_file(text, own, [own])
        assert renewed == text.replace("198.18.0.11 db.example.org\n", "")
        assert state.hosts_file(renewed, own, [own]) == renewed


class TestWhatTheProjectLearns:
    def test_ssh_config_pins_key_and_user(self) -> None:
        text = state.ssh_config([record(), record("db.example.org", 11)], Path("/my project/.lab"))
        assert text.count("Host ") == 2
        assert "HostName 198.18.0.11\n" in text
        assert 'UserKnownHostsFile "/my project/.lab/known_hosts"\n' in text
        assert text.count("StrictHostKeyChecking yes\n") == 2

    def test_known_hosts_by_name_and_address(self) -> None:
        text = state.known_hosts({record(): "ssh-ed25519 AAAA root@hub.example.org\n"})
        assert text == "hub.example.org,198.18.0.10 ssh-ed25519 AAAA\n"

    def test_group_data_is_python(self) -> None:
        data: dict[str, Any] = {}
        archives = {"trixie": "/cache/t.tar", "bookworm": "/cache/b.tar"}
        exec(state.group_data(Path("/p/.lab"), [Path("/c/it's.crt")], archives, None), data)
        assert data["ssh_config_file"] == "/p/.lab/ssh_config"
        assert data["base_ca_certificates"] == ["/c/it's.crt"]
        assert data["docker_base_archives"] == archives
        assert "tls_acme_directory" not in data


class TestInventory:
    def test_defaults(self) -> None:
        assert inventory.parse("hub.example.org", {}) == Spec("hub.example.org")

    def test_everything_set(self) -> None:
        data = {
            "lab_os": "bookworm",
            "lab_memory": 2048,
            "lab_addresses": ["169.254.169.254", "198.18.1.1"],
            "lab_names": ["www.example.org"],
        }
        assert inventory.parse("a", data) == Spec(
            "a",
            "bookworm",
            2048,
            ("169.254.169.254", "198.18.1.1"),
            names=("www.example.org",),
        )

    @pytest.mark.parametrize(
        ("name", "data", "error"),
        [
            ("@local", {}, "@local is not a host that the lab can boot"),
            ("../../etc", {}, "no host name"),
            ("a" * 64, {}, "no host name"),
            ("a", {"lab_os": "jessie"}, "lab_os of a is 'jessie'; it can be trixie or bookworm"),
            ("a", {"lab_memory": "2G"}, "a number of MiB"),
            ("a", {"lab_memory": 64}, "a number of MiB from 128"),
            ("a", {"lab_addresses": "169.254.169.254"}, "a list of IPv4 addresses"),
            ("a", {"lab_addresses": ["::1"]}, "'::1' is not an IPv4 address"),
            ("a", {"lab_addresses": ["198.18.0.77"]}, "cannot be played by a lab host"),
            ("a", {"lab_addresses": ["1.2.3.4"]}, "cannot be played by a lab host"),
            ("a", {"lab_names": "www.example.org"}, "a list of lower-case host names"),
            ("a", {"lab_names": ["b", "W.example.org"]}, "a list of lower-case host names"),
            ("a", {"lab_names": ["b c"]}, "a list of lower-case host names"),
        ],
    )
    def test_what_is_refused(self, name: str, data: dict[str, Any], error: str) -> None:
        with pytest.raises(LabError, match=error):
            inventory.parse(name, data)

    def test_pyinfra_reads_groups_and_their_data(self, tmp_path: Path) -> None:
        (tmp_path / "group_data").mkdir()
        (tmp_path / "group_data/db.py").write_text('lab_os = "bookworm"\npostgres_version = 17\n')
        file = tmp_path / "prod.py"
        file.write_text('hub = [("hub.a", {"lab_memory": 512})]\ndb = ["db.a"]\n')
        assert inventory.read(file, checkout.PROJECT) == [
            Spec("hub.a", memory=512),
            Spec("db.a", os="bookworm"),
        ]

    @pytest.mark.parametrize(
        ("data", "asks"),
        [
            ({}, False),
            ({"tls": "files"}, False),
            ({"tls": "acme"}, True),
            ({"tls": "acme", "tls_acme_staging": True}, False),
            ({"tls": "acme", "tls_acme_directory": "https://ca.example.org/dir"}, False),
        ],
    )
    def test_who_asks_the_lets_encrypt_of_the_lab(self, data: dict[str, Any], asks: bool) -> None:
        assert inventory.parse("a", data).acme is asks

    def test_the_example_for_production_asks_it(self) -> None:
        specs = inventory.read(checkout.PROJECT / "inventories/prod.py", checkout.PROJECT)
        assert [spec.acme for spec in specs] == [True, True, True]

    @pytest.mark.parametrize(("more", "front"), [("", "hub.a"), ('edge = ["edge.a"]', "edge.a")])
    def test_the_front_has_the_names_that_are_certified(
        self, tmp_path: Path, more: str, front: str
    ) -> None:
        (tmp_path / "group_data").mkdir()
        (tmp_path / "group_data/all.py").write_text(
            f'tls = "acme"\nhub_names = ["{front}", "www.a", "nobody\'s"]\nlab_names = []\n'
        )
        file = tmp_path / "prod.py"
        file.write_text(f'hub = ["hub.a"]\ndb = ["db.a"]\n{more}\n')
        specs = inventory.read(file, checkout.PROJECT)
        assert {spec.name: spec.names for spec in specs if spec.names} == {front: ("www.a",)}

    def test_names_that_no_acme_server_asks_for_stay_out_of_the_lab(self) -> None:
        assert inventory.parse("a", {"hub_names": ["www.a"]}).names == ()

    def test_a_broken_file_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "broken.py"
        file.write_text("hub = [\n")
        with pytest.raises(LabError, match=r"cannot read the inventory .*broken\.py"):
            inventory.read(file, checkout.PROJECT)

    def test_no_hosts(self, tmp_path: Path) -> None:
        file = tmp_path / "empty.py"
        file.write_text("hub = []\n")
        with pytest.raises(LabError, match="names no hosts"):
            inventory.read(file, checkout.PROJECT)


class TestThisMachine:
    def test_mirrors_are_those_of_this_machine_in_plain_http(self) -> None:
        targets = "https://mirror.lan/d/ Debian\nhttp://s.lan/ds Debian-Security\nhttp://x/y X\n"
        assert image.mirrors(targets) == ("http://mirror.lan/d", "http://s.lan/ds")

    def test_mirrors_that_are_missing(self) -> None:
        with pytest.raises(LabError, match="run: apt-get update"):
            image.mirrors("http://mirror.lan/d/ Debian\n")

    def test_a_stub_resolver_is_no_dns_server_for_hosts(self) -> None:
        text = "# made by\nsearch lan\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver\n"
        assert network.parse_nameservers(text) == ["192.0.2.53"]

    def test_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        state.STATE.mkdir()
        monkeypatch.setattr(checks, "DISK", 1 << 60)
        with pytest.raises(LabError, match=r"GiB of disk.*HUBSTEAD_LAB_STATE"):
            checks.check_room([Spec("a")])
        with pytest.raises(LabError, match="1000000000 MiB of memory"):
            monkeypatch.setattr(checks, "DISK", 1)
            checks.check_room([Spec("a", memory=1_000_000_000)])
        checks.check_room([])

    def test_missing_tools_come_with_the_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 0)
        monkeypatch.setattr("shutil.which", lambda tool: None if tool == "systemd-nspawn" else tool)
        with pytest.raises(LabError, match="apt-get install systemd-container"):
            checks.check_machine()


class TestOwnership:
    """A name is one host of a checkout, of one inventory."""

    @pytest.fixture
    def up(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Spec], object]:
        monkeypatch.setattr(api, "check_machine", lambda: None)
        monkeypatch.setattr(network, "up", lambda: pytest.fail("nothing was refused"))

        def up(spec: Spec) -> object:
            monkeypatch.setattr(inventory, "read", lambda path, project: [spec])
            return api.Lab(progress=lambda line: None).up("/project/inventories/lab.py")

        return up

    def test_up_for_another_inventory(self, up: Callable[[Spec], object]) -> None:
        record(project=str(checkout.PROJECT), inventory="/project/inventories/prod.py").save()
        with pytest.raises(LabError, match=r"python -m lab down /project/inventories/prod\.py"):
            up(Spec("hub.example.org"))

    def test_up_with_other_settings(self, up: Callable[[Spec], object]) -> None:
        record(project=str(checkout.PROJECT)).save()
        with pytest.raises(LabError, match="already up with other settings"):
            up(Spec("hub.example.org", os="bookworm"))

    def test_up_with_an_address_that_another_checkout_plays(
        self, up: Callable[[Spec], object], tmp_path: Path
    ) -> None:
        played = ("169.254.169.254",)
        record("outside.example.net", 11, project=str(tmp_path), addresses=played).save()
        error = r"cannot play 169\.254\.169\.254: outside\.example\.net of /.* does"
        with pytest.raises(LabError, match=error):
            up(Spec("outside.example.net", addresses=played))

    def test_up_with_a_name_of_another_host(self, up: Callable[[Spec], object]) -> None:
        record(
            "db.example.org", 11, project=str(checkout.PROJECT), names=("www.example.org",)
        ).save()
        error = r"www\.example\.org is a name of two lab hosts, db\.example\.org and hub\."
        with pytest.raises(LabError, match=error):
            up(Spec("hub.example.org", names=("www.example.org",)))


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


class TestAcme:
    """Who gets an ACME server; certificates of its API, and the files of its host."""

    def test_it_stays_while_a_host_asks_it(self, helper: Record) -> None:
        one, other = record(), record("db.example.org", 11)
        for host in (one, other):
            host.save()
            acme.note(host, True)
        acme.note(one, False)
        assert acme.idle([one, other, helper]) == []
        assert acme.idle([one, helper]) == [helper]
        assert acme.idle([one]) == []

    @pytest.fixture
    def helper(self) -> Record:
        host = record("acme.example.net", helper="acme")
        host.save()
        return host

    def test_its_authority_is_strictly_valid_and_lasts_as_long_as_the_helper(
        self, helper: Record, tmp_path: Path
    ) -> None:
        acme.prepare(helper, tmp_path / "root")
        authority = helper.authority.read_bytes()
        acme.prepare(helper, tmp_path / "reset")
        assert helper.authority.read_bytes() == authority
        certificate = tmp_path / "reset/etc/lab-acme/certificate.pem"
        for option, name in (("hostname", helper.name), ("ip", helper.address)):
            command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver"]
            command += [f"-verify_{option}", name, "-CAfile", str(helper.authority)]
            subprocess.run([*command, str(certificate)], check=True)

    def test_only_the_key_is_secret(self, helper: Record, tmp_path: Path) -> None:
        acme.prepare(helper, tmp_path / "root")
        files = [*helper.directory.iterdir(), *(tmp_path / "root/etc/lab-acme").iterdir()]
        closed = {file for file in files if not file.stat().st_mode & 0o044}
        assert closed == {file for file in files if file.name == "key.pem"}

    def test_what_is_deployed_trusts_and_asks_it(self, helper: Record, tmp_path: Path) -> None:
        acme.prepare(helper, tmp_path / "root")
        state.describe(tmp_path, {helper: "ssh-ed25519 AAAA", record("a", 11): "ssh-x B"}, {})
        data = runpy.run_path(str(tmp_path / "group_data/all.py"))
        assert data["base_ca_certificates"][-1] == str(helper.authority)
        assert data["tls_acme_directory"] == f"https://{helper.name}:14000/dir"

    def test_without_a_host_that_asks_there_is_none(self) -> None:
        record(project=str(checkout.PROJECT)).save()
        with pytest.raises(LabError, match='no host that is up has `tls` = "acme"'):
            acme.Pebble(api.Lab())


class TestCommandLine:
    @pytest.mark.parametrize(
        "command", ["ssh", "reset", "cut", "start", "reboot", "restore", "unplug", "plug"]
    )
    def test_unknown_host(
        self, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api, "check_machine", lambda: None)
        name = ["deployed"] if command == "restore" else []
        assert main([command, "nowhere.example.org", *name]) == 1
        assert "There is no lab host nowhere.example.org here. Up are: none." in (
            capsys.readouterr().err
        )

    def test_not_root(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        assert main(["up", "inventories/lab.py"]) == 1
        assert "run it as root" in capsys.readouterr().err

    def test_missing_inventory(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api, "check_machine", lambda: None)
        assert main(["up", "inventories/nowhere.py"]) == 1
        assert "There is no inventory" in capsys.readouterr().err
