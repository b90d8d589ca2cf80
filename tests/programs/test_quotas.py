"""Limits on people's files, on file systems that keep quotas: in a virtual machine.

The kernel of this machine may have no quotas. The program, its units and the recipe of
docs/servers.md for a disk in a file are the real ones; XFS is such a disk, within an ext4.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hubstead.programs import program
from hubstead.render import render
from tests.kit import vm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or platform.machine() != "x86_64", reason="builds a root of Debian's"
    ),
]

HERE = Path(__file__).parents[1]
UNITS = "/etc/systemd/system"
PROGRAM, PLACES = "/usr/local/lib/hubstead/people-files", "/etc/hubstead/people-files.json"
MIB = 1 << 20
#: Those that the disks need, and /init to have them before systemd looks at the fstab
MODULES = ["virtio_pci", "virtio_blk", "loop", "xfs", "quota_v2"]
_INIT = """#!/usr/bin/python3 -I
import ctypes, os, subprocess
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
for path in sorted(Path("/modules").iterdir()):
    data = path.read_bytes()
    # init_module(2)
    if libc.syscall(175, data, len(data), b""):
        print(path, os.strerror(ctypes.get_errno()))
# without udev no unit waits for a device
subprocess.run(["mount", "-t", "devtmpfs", "none", "/dev"])
for device, place, options in (("vda", "ext4", "usrquota"), ("vdb", "counted", "defaults")):
    os.makedirs(f"/srv/{place}")
    subprocess.run(["mount", "-o", options, f"/dev/{device}", f"/srv/{place}"])
os.execv("/usr/lib/systemd/systemd", ["systemd"])
"""
_FSTAB = "/srv/ext4/disk.xfs /srv/xfs xfs loop,uquota,nosuid,nodev,nofail 0 0\n"
_GUEST = """
[Unit]
Requires=hubstead-people-files.socket
After=hubstead-people-files.socket
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /guest.py
StandardOutput=tty
TTYPath=/dev/ttyS0
ExecStopPost=/usr/bin/systemctl poweroff --force --force
"""


def disks(directory: Path) -> list[Path]:
    """An ext4 that has an XFS in a file, and an ext4 that counts and enforces nothing."""
    content = directory / "content"
    content.mkdir()
    with (content / "disk.xfs").open("wb") as file:
        file.truncate(400 * MIB)
    subprocess.run(["mkfs.xfs", "-q", content / "disk.xfs"], check=True)
    made = []
    for name, size, source in (("vda", 1000, [content]), ("vdb", 64, [])):
        made.append(directory / name)
        with made[-1].open("wb") as file:
            file.truncate(size * MIB)
        command = ["mkfs.ext4", "-q", "-O", "quota", *[f"-d{path}" for path in source]]
        subprocess.run([*command, made[-1]], check=True)
    return made


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/kit/quotas_guest.py found."""
    if not shutil.which("qemu-system-x86_64"):
        pytest.fail("needs qemu-system-x86_64: make tools")
    directory = tmp_path_factory.mktemp("quotas")
    kernel = vm.kernel()
    helper = "hubstead-people-files"
    service = render(
        "people", f"{UNITS}/{helper}@.service", files="/srv/xfs/files", limits=True,
        program=PROGRAM, places=PLACES,
    )  # fmt: skip
    listener = render(
        "people", f"{UNITS}/{helper}.socket", socket=f"/run/{helper}.sock", user="root"
    )
    added = {
        f"modules/{number:02}": (0o600, module)
        for number, module in enumerate(vm.modules(kernel, MODULES))
    }
    for path, mode, text in (
        ("init", 0o755, _INIT),
        ("etc/fstab", 0o644, _FSTAB),
        ("etc/skel/.profile", 0o644, "# of the host"),
        (f"{UNITS}/{helper}@.service", 0o644, service),
        (f"{UNITS}/{helper}.socket", 0o644, listener),
        (f"{UNITS}/guest.service", 0o644, _GUEST),
        (PROGRAM, 0o755, program("people_files.py")),
        (PLACES, 0o644, ""),
        ("guest.py", 0o644, (HERE / "kit/quotas_guest.py").read_text()),
        # nobody has a volume
        ("usr/bin/docker", 0o755, "#!/bin/sh\n"),
    ):
        added[path.lstrip("/")] = mode, text.encode()
    root = directory / "root.cpio"
    vm.initramfs(root, os.environ.get("LAB_OS", "trixie"), added)
    console = directory / "console"
    vm.boot(kernel, root, disks(directory), console, "systemd.unit=guest.service")
    text = console.read_text(errors="replace")
    lines = [line for line in text.splitlines() if "RESULT " in line]
    assert lines, text[-3000:]
    result: dict[str, Any] = json.loads(lines[0].partition("RESULT ")[2])
    return result


@pytest.fixture(params=["xfs", "ext4"])
def story(request: pytest.FixtureRequest, found: dict[str, Any]) -> dict[str, Any]:
    """What happened on one of the file systems."""
    told = found[request.param]
    assert isinstance(told, dict), told
    return told


FULL, ROOM = errno.EDQUOT, 0
LIMITS, RAISED = [20 * MIB, 200], [40 * MIB, 400]


def test_who_fills_the_disk_or_its_files_fills_their_part_alone(story: dict[str, Any]) -> None:
    assert story["wanted"] == [{"uid": 70000}, {"uid": 70001}]
    # skeletons take some of it
    assert story["bytes"] == [19, FULL] and story["beside"] == [2, ROOM]
    (count, reason) = story["files"]
    assert 190 < count < 200 and reason == FULL and story["beside many"] == [1, ROOM]


def test_who_is_full_starts_a_server_and_makes_room(story: dict[str, Any]) -> None:
    assert story["wanted when full"] == {"uid": 70000}
    assert story["put back"] is None
    assert story["with room"] == [1, ROOM] and story["cleared"] == [".jupyter"]


def test_everybody_is_told_what_they_have(story: dict[str, Any]) -> None:
    first, full = story["shown at first"], story["shown when full"]
    assert [first["bytes"][1], first["files"][1]] == LIMITS
    assert 0 < first["bytes"][0] < MIB and 0 < first["files"][0] < 10
    assert 19 * MIB < full["bytes"][0] <= 20 * MIB == full["bytes"][1]
    assert story["shown to another account"] == {}


def test_there_is_no_way_out(story: dict[str, Any], request: pytest.FixtureRequest) -> None:
    ways = story["ways out"]
    for way in ("give away", "give to root", "raise the limit"):
        assert ways.pop(way) == errno.EPERM, way
    for way in ("write to another's", "link to another's", "write beside"):
        assert ways.pop(way) == errno.EACCES, way
    # which is why limits are not by project
    left = {"xfs": None, "ext4": errno.EOPNOTSUPP}[request.node.callspec.params["story"]]
    assert ways.pop("leave the project") == left
    assert ways.pop("link") is None
    assert set(ways.values()) == {FULL}, ways
    assert story["at the end"] == [0, FULL] and story["beyond the limit"] == 0


def test_another_limit_reaches_everybody_at_once(story: dict[str, Any]) -> None:
    assert story["to be raised"] == ["70000", "70001"]
    to_do, shown, filled = story["raised"]
    assert to_do == "" and [shown["bytes"][1], shown["files"][1]] == RAISED
    # beside 20 MiB of before
    assert filled[1] == FULL and 19 <= filled[0] <= 20


def test_who_comes_with_more_keeps_it_and_writes_nothing(story: dict[str, Any]) -> None:
    assert story["came with more"] == {"uid": 70002}
    shown, filled = story["has more"]
    assert shown["bytes"][0] >= 60 * MIB and shown["bytes"][1] == RAISED[0]
    assert filled == [0, FULL]
    # to a uid that has the limits of who had it before
    assert story["came again"] == {"uid": 70002}
    assert story["shown again"]["bytes"][1] == RAISED[0]


def test_what_somebody_left_is_not_the_next_ones(story: dict[str, Any]) -> None:
    assert story["left"] == {}
    wanted, shown = story["next of the name"]
    assert wanted == {"uid": 70003}
    assert shown["bytes"][0] < MIB and shown["bytes"][1] == RAISED[0]


def test_limits_are_lifted_and_those_of_the_owner_stay(story: dict[str, Any]) -> None:
    assert story["to be lifted"] == ["70000", "70001", "70002", "70003"]
    assert story["lifted"] == ["", [60, ROOM], {}]
    assert story["of the owner"] == [[], [90 * MIB, 0]]


@pytest.mark.parametrize("place", ["memory", "not enforced"])
def test_where_limits_do_not_hold_nothing_is_made(found: dict[str, Any], place: str) -> None:
    on, *answers, made = found[place]
    assert on is False and made == 0
    for answer in answers:
        assert "keeps no quotas" in answer and "is the disk mounted" in answer


def test_the_disk_beneath_gets_nothing_while_theirs_is_away(found: dict[str, Any]) -> None:
    assert found["away"] == [{}, 0]
    assert found["xfs"]["disk"]["quotas"] and found["ext4"]["disk"]["fstype"] == "ext4"
