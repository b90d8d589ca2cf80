"""The lab keeps its promises, on a host of its own."""

import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from bench.__main__ import Bench
from lab import Lab, LabError, state
from lab.state import Record
from tests.kit.support import KEEP, eventually

pytestmark = pytest.mark.slow

INVENTORY = Path(__file__).parents[1] / "inventories/lab_small.py"
NAME = "small.example.net"
PLAYED = "169.254.169.253"


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def places() -> dict[str, str]:
    """Where a host could leave something on this machine."""
    return {
        "processes": output("ps", "-eo", "args"),
        "interfaces": output("ip", "-o", "link"),
        "routes": output("ip", "route", "show", "table", "all"),
        "mounts": Path("/proc/self/mounts").read_text(),
        "files": listing(state.STATE / "hosts"),
        "control groups": listing(*Path("/sys/fs/cgroup").rglob("hubstead-lab")),
        "systemd's files": listing(*Path("/run/systemd/nspawn").iterdir()),
    }


def names() -> str:
    """Where this checkout knows its hosts by name; another may have hosts of the same names."""
    files = [*Lab().directory.glob("*hosts*"), *(host.root / "etc/hosts" for host in Lab().hosts())]
    return "".join(file.read_text() for file in files)


def inode(host: Record) -> str:
    """As systemd-nspawn names its lock on a root filesystem."""
    status = host.root.stat()
    return f"{status.st_dev}:{status.st_ino}"


def listing(*directories: Path) -> str:
    return "\n".join(str(path) for folder in directories for path in folder.glob("*"))


def test_a_second_up_keeps_the_host(lab: Lab) -> None:
    lab.run(NAME, "touch /tmp/mark")
    lab.up(INVENTORY)
    assert lab.run(NAME, "ls /tmp/mark").stdout == "/tmp/mark\n"


def test_the_host_is_a_cloud_image(lab: Lab) -> None:
    script = "hostname; hostname -f; sudo -n id -un; ps -o comm= -p 1; . /etc/os-release"
    answer = lab.run(NAME, f"{script}; echo $VERSION_CODENAME; systemctl is-system-running")
    assert answer.stdout.split() == ["small", NAME, "root", "systemd", "trixie", "running"]
    # Nothing of this machine's trust: the deploy must bring it.
    assert lab.run(NAME, "ls /usr/local/share/ca-certificates", check=False).stdout == ""


def test_only_the_key_of_deploy_opens_it(lab: Lab) -> None:
    for login in (["-l", "root"], ["-o", "PubkeyAuthentication=no"]):
        command = [*lab.ssh_command(), "-o", "BatchMode=yes", *login, NAME, "true"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 255
        assert "Permission denied (publickey)" in done.stderr


def test_memory_is_limited(lab: Lab) -> None:
    eater = lab.run(NAME, "python3 -c 'len(bytes([1]) * (600 << 20))'", check=False)
    assert eater.returncode != 0
    assert lab.run(NAME, "true").returncode == 0


def test_the_host_plays_its_extra_address(lab: Lab) -> None:
    """A packet of the lab to that address goes to the host; one of this machine does not."""
    assert PLAYED in lab.run(NAME, "ip -o address").stdout
    from_lab = output("ip", "route", "get", PLAYED, "from", "198.18.0.200", "iif", "hubstead0")
    assert f"via {lab.host(NAME).address} dev hubstead0" in from_lab
    assert "hubstead0" not in output("ip", "route", "get", PLAYED)


def test_what_nobody_plays_stays_in_the_lab(lab: Lab) -> None:
    command = ["ip", "route", "get", "169.254.1.2", "from", "198.18.0.200", "iif", "hubstead0"]
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_a_host_of_another_checkout_leaves_it_alone(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "lab").symlink_to(lab.project / "lab")
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f'hosts = ["{NAME}"]\n')
    names = lab.host(NAME).root / "etc/hosts"
    before = (names.read_text(), names.stat().st_mtime)
    other = Lab(tmp_path)
    (neighbour,) = other.up(inventory)
    try:
        assert (names.read_text(), names.stat().st_mtime) == before
        assert lab.host(NAME).address not in (neighbour.root / "etc/hosts").read_text()
        assert neighbour.address != lab.host(NAME).address
        lab.run(NAME, "touch /tmp/ours")
        assert other.run(NAME, "ls /tmp/ours", check=False).returncode != 0
    finally:
        other.down()
    assert (names.read_text(), names.stat().st_mtime) == before


def test_unplug_and_plug(lab: Lab) -> None:
    lab.unplug(NAME)
    assert lab.run(NAME, "true", check=False).returncode == 255
    lab.plug(NAME)
    eventually("an answer", lambda: lab.run(NAME, "true", check=False).returncode == 0)


def test_a_reboot_and_a_power_cut_keep_the_disk(lab: Lab) -> None:
    boots = [lab.run(NAME, "touch keep; sync; cat /proc/sys/kernel/random/boot_id").stdout]
    for again in (lab.reboot, lab.cut):
        again(NAME)
        assert lab.run(NAME, "ls").stdout == "keep\n"
        boots.append(lab.run(NAME, "cat /proc/sys/kernel/random/boot_id").stdout)
    assert len(set(boots)) == 3


def test_a_host_can_stay_without_power(lab: Lab) -> None:
    lab.cut(NAME, stay_down=True)
    assert not lab.is_running(NAME)
    lab.start(NAME)
    assert lab.is_running(NAME)


def test_reset_makes_it_bare_at_the_same_address(lab: Lab) -> None:
    address = lab.host(NAME).address
    lab.run(NAME, "touch mark")
    lab.reset(NAME)
    assert lab.host(NAME).address == address
    assert lab.run(NAME, "ls").stdout == ""


def test_a_snapshot_brings_the_disk_back(lab: Lab) -> None:
    boot = lab.run(NAME, "echo kept >file; cat /proc/sys/kernel/random/boot_id").stdout
    lab.snapshot([NAME], "with a file")
    assert lab.run(NAME, "cat /proc/sys/kernel/random/boot_id").stdout == boot
    lab.run(NAME, "rm file; touch another")
    lab.restore(NAME, "with a file")
    assert lab.run(NAME, "head ~/*").stdout == "kept\n"


def test_a_stale_snapshot_is_not_taken_for_a_fresh_one(lab: Lab) -> None:
    lab.run(NAME, "touch stale")
    lab.snapshot([NAME], "old", settings="another tree")
    lab.run(NAME, "rm stale")
    with pytest.raises(LabError, match="is stale"):
        lab.restore(NAME, "old")
    assert "stale" not in lab.run(NAME, "ls").stdout
    lab.restore(NAME, "old", stale=True)
    assert "stale" in lab.run(NAME, "ls").stdout


def test_a_state_is_made_once_and_outlives_the_host(lab: Lab) -> None:
    made = []
    # no earlier run has made it
    name = f"made {uuid4().hex}"

    def make() -> str:
        made.append(lab.run(NAME, "touch made; ls").stdout)
        return "a note"

    assert lab.reach(INVENTORY, name, make) == "a note"
    lab.down(INVENTORY, keep_snapshots=True)
    assert lab.reach(INVENTORY, name, make) == "a note"
    assert made == ["made\n"]  # on a bare host, once
    assert lab.run(NAME, "ls").stdout == "made\n"


def test_pyinfra_deploys_to_it_with_the_group_data(lab: Lab) -> None:
    pyinfra = str(Path(sys.executable).with_name("pyinfra"))
    data = str(lab.directory / "group_data")
    command = [pyinfra, "-y", "--group-data", data, str(INVENTORY)]
    command += ["exec", "--sudo", "--", "id -un"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=lab.project)
    assert done.returncode == 0, done.stderr
    assert f"[{NAME}] root" in done.stdout + done.stderr


def test_the_bench_measures_everything(lab: Lab) -> None:
    """As `make bench`, but with two roles."""
    scripts = ("deploys/base.py", "deploys/python.py")
    report = Bench(INVENTORY, NAME, scripts, apart=("python",), rounds=1).report(lab)
    times = dict(re.findall(r"^(\S.*?) +(\d+\.\d) s", report, re.MULTILINE))
    parts = ["floor, shell script", "cold run", "python", "no-op run", "no-op, plain transport"]
    assert list(times) == parts, report
    assert all(float(seconds) > 0 for seconds in times.values()), report
    for fact in (
        r"[1-9]\d* packages, 1 releases", r"[1-9]\d* commands",
        r"cold run .* \d+\.\d\d x floor", r"plain transport .* \d+\.\d\d x ours",
    ):  # fmt: skip
        assert re.search(fact, report), report


def test_down_leaves_no_trace(lab: Lab) -> None:
    host = lab.host(NAME)
    # hubstead2 is not hubstead24
    traces = [rf"\b{host.machine}\b", f"via {host.address} ", inode(host)]

    def found() -> set[tuple[str, str]]:
        return {(w, t) for w, text in places().items() for t in traces if re.search(t, text)}

    assert {trace for _, trace in found()} == set(traces) and NAME in names()
    lab.down(INVENTORY, keep_snapshots=KEEP)
    assert NAME not in names()
    assert lab.hosts() or not lab.directory.exists()
    with state.locked(print):  # no other checkout boots a host meanwhile
        others = state.records()
        # one may have taken its number already, or its place on the disk
        there = [other for other in others if other.root.exists()]
        taken = {trace for other in there for trace in (other.machine, inode(other))}
        assert taken & {host.machine, traces[-1]} or found() == set()
        if not others:
            assert not Path("/sys/class/net/hubstead0").exists()
            assert "hubstead" not in output("iptables-save") + output("ip6tables-save")
            assert KEEP or not state.STATE.exists()
    lab.down(INVENTORY, keep_snapshots=KEEP)  # a second one finds nothing to do
