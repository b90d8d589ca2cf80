"""The lab keeps its promises, on a host of its own."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import Lab, state

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
        "other hosts": "".join((host.root / "etc/hosts").read_text() for host in state.records()),
        ".lab": "".join(file.read_text() for file in Lab().directory.glob("*hosts*")),
    }


def listing(*directories: Path) -> str:
    return "\n".join(str(path) for folder in directories for path in folder.glob("*"))


def test_a_second_up_keeps_the_host_and_is_quick(lab: Lab) -> None:
    lab.run(NAME, "touch /tmp/mark")
    began = time.monotonic()
    lab.up(INVENTORY)
    assert time.monotonic() - began < 3
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
    inventory.write_text('hosts = ["neighbour.example.net"]\n')
    names = lab.host(NAME).root / "etc/hosts"
    before = (names.read_text(), names.stat().st_mtime)
    other = Lab(tmp_path)
    (neighbour,) = other.up(inventory)
    try:
        assert (names.read_text(), names.stat().st_mtime) == before
        assert NAME not in (neighbour.root / "etc/hosts").read_text()
    finally:
        other.down()
    assert (names.read_text(), names.stat().st_mtime) == before


def test_unplug_and_plug(lab: Lab) -> None:
    lab.unplug(NAME)
    assert lab.run(NAME, "true", check=False).returncode == 255
    lab.plug(NAME)
    assert lab.run(NAME, "true").returncode == 0


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


def test_pyinfra_deploys_to_it_with_the_group_data(lab: Lab) -> None:
    pyinfra = str(Path(sys.executable).with_name("pyinfra"))
    data = str(lab.directory / "group_data")
    command = [pyinfra, "-y", "--group-data", data, str(INVENTORY)]
    command += ["exec", "--sudo", "--", "id -un"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=lab.project)
    assert done.returncode == 0, done.stderr
    assert f"[{NAME}] root" in done.stdout + done.stderr


def test_down_leaves_no_trace(lab: Lab) -> None:
    host = lab.host(NAME)
    inode = f":{host.root.stat().st_ino}"
    traces = [NAME, host.machine, PLAYED, inode]
    before = places()
    lab.down(INVENTORY)
    assert any(trace in found for trace in traces for found in before.values())
    left = {
        (where, trace) for where, found in places().items() for trace in traces if trace in found
    }
    assert left == set()
    if not state.records():
        assert not Path("/sys/class/net/hubstead0").exists()
        assert "hubstead" not in output("iptables-save") + output("ip6tables-save")
        assert not lab.directory.exists()
        assert not state.STATE.exists()
    lab.down(INVENTORY)  # a second one finds nothing to do
