"""What the lab refuses: this machine, hosts of others, a word of the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lab import api, checkout, checks, image, inventory, network, state
from lab.__main__ import main
from lab.inventory import Spec
from lab.state import LabError
from tests.unit.lab.records import record


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
