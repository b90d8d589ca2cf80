"""Within the virtual machine of tests/programs/test_quotas.py: what people can do to a disk.

Prints a line `RESULT {…}` to the console. A new process takes seconds there: what can be asked of
the helper's module is, and the helper itself where its unit's powers make a difference.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

PROGRAM, PLACES = "/usr/local/lib/hubstead/people-files", Path("/etc/hubstead/people-files.json")
MIB, GID = 1 << 20, 59000
LIMITS = (20 * MIB, 200)

_loader = SourceFileLoader("people_files", PROGRAM)
_spec = spec_from_loader("people_files", _loader)
assert _spec
people_files: Any = module_from_spec(_spec)
sys.modules["people_files"] = people_files
_loader.exec_module(people_files)


def write(file: Any, most: int) -> int:
    """Bytes written until there is no more room; the error is raised then."""
    for _ in range(most):
        file.write(b"x" * MIB)
    os.fsync(file.fileno())
    return most


def fill(name: str, most: int = 200) -> list[int]:
    """MiB that could be written, and the number of the error."""
    path = Path(name)
    try:
        with path.open("wb", buffering=0) as file:
            write(file, most)
    except OSError as error:
        return [path.stat().st_size // MIB if path.exists() else 0, error.errno or 0]
    return [most, 0]


def make_files() -> list[int]:
    """Empty files that could be made, and the number of the error."""
    for count in range(1000):
        try:
            Path(f"empty-{count}").touch()
        except OSError as error:
            return [count, error.errno or 0]
    return [1000, 0]


def clear() -> list[str]:
    for path in Path().iterdir():
        if path.is_file():
            path.unlink()
    return [path.name for path in Path().iterdir()]


def leave_project(name: str) -> None:
    """Into the project 7: FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR of linux/fs.h."""
    with Path(name).open("rb") as file:
        held = bytearray(fcntl.ioctl(file, 0x801C581F, bytes(28)))
        held[12:16] = struct.pack("I", 7)
        fcntl.ioctl(file, 0x401C5820, bytes(held))


def fill_between_holes() -> None:
    with Path("sparse").open("wb", buffering=0) as file:
        file.truncate(1 << 40)
        for number in range(64):
            file.seek(number << 30)
            write(file, 1)


def reserve() -> None:
    with Path("reserved").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 64 * MIB)


def fill_attributes() -> None:
    for number in range(1000):
        os.setxattr("mine", f"user.{number}", b"x" * 3000)


def fill_what_is_gone() -> None:
    with Path("gone").open("wb", buffering=0) as file:
        Path("gone").unlink()
        write(file, 64)


def raise_the_limit() -> None:
    people_files.Quotas(Path()).limit(os.getuid(), (0, 0))


def escape(other: str, uid: int) -> dict[str, Any]:
    """The number of the error of each way out; None where there is none."""
    Path("mine").write_bytes(bytes(4 * MIB))
    ways: dict[str, Callable[[], Any]] = {
        "give away": lambda: os.chown("mine", uid, -1),
        "give to root": lambda: os.chown("mine", 0, -1),
        "leave the project": lambda: leave_project("mine"),
        "write to another's": lambda: Path(f"../{other}/x").touch(),
        "link to another's": lambda: Path(f"../{other}/x").hardlink_to("mine"),
        "write beside": lambda: Path("../x").touch(),
        "link": lambda: Path("again").hardlink_to("mine"),
        "raise the limit": raise_the_limit,
        "reserve": reserve,
        "fill what is gone": fill_what_is_gone,
        "fill between holes": fill_between_holes,
        "fill attributes": fill_attributes,
    }
    found: dict[str, Any] = {}
    for name, way in ways.items():
        found[name] = None
        try:
            way()
        except OSError as error:
            found[name] = error.errno
    return found


def by(uid: int, directory: Path, call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call by a person returns, in the directory of their own."""
    here, there = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(GID, GID, GID)
            os.setresuid(uid, uid, uid)
            os.chdir(directory)
            os.write(there, json.dumps(call(*arguments)).encode())
        except BaseException:
            os.write(there, json.dumps(traceback.format_exc()).encode())
        os._exit(0)
    os.close(there)
    with os.fdopen(here) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


def ask_helper(verb: str, name: str, account: str = "1") -> dict[str, Any]:
    """What the helper's unit answers; {} where it does not."""
    text = b""
    with socket.socket(socket.AF_UNIX) as asked, suppress(OSError):
        asked.settimeout(60)
        asked.connect("/run/hubstead-people-files.sock")
        asked.sendall(json.dumps({verb: name, "account": account}).encode() + b"\n")
        text = asked.recv(9999)
    answer: dict[str, Any] = json.loads(text or "{}")
    return answer


def settings(files: Path, limits: tuple[int, int] | None) -> Any:
    """The program's part, with settings as a run writes them."""
    document: dict[str, Any] = {"files": str(files), "volumes": "hubstead-user-", "gid": GID}
    PLACES.write_text(json.dumps({**document, "uids": [70000, 79999], "limits": limits}))
    return people_files.Files(people_files.Places(**document, uids=(70000, 79999), limits=limits))


def program(action: str) -> str:
    command = [PROGRAM, str(PLACES), action]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def used(path: Path) -> int:
    os.sync()
    state = os.statvfs(path)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def come_with(files: Path, mib: int) -> None:
    """Carol, with files that are whole and not hers yet, as out of a volume."""
    (files / ".moving/carol").mkdir(parents=True)
    with (files / ".moving/carol/large").open("wb") as file:
        write(file, mib)


def story(disk: Path) -> dict[str, Any]:
    """Two people, and a third who comes with more than they may have."""
    files, found = disk / "files", dict[str, Any]()
    files.mkdir(mode=0o711)
    helper = settings(files, LIMITS)

    def ask(verb: str, name: str, account: str = "1") -> Any:
        line = json.dumps({verb: name, "account": account})
        return people_files.answer(helper, line)

    found["disk"] = json.loads(program("disk"))
    found["wanted"] = [ask_helper("want", "alice"), ask_helper("want", "bob", "2")]
    alice, bob = (answer["uid"] for answer in found["wanted"])
    a, b = files / "alice", files / "bob"
    found["shown at first"] = ask_helper("show", "alice")

    by(alice, a, fill, "old", 0)
    by(alice, a, fill, "copy", 0)
    found["bytes"] = by(alice, a, fill, "hoard")
    # as Jupyter Server puts a file back that it could not save
    found["put back"] = by(alice, a, os.replace, "copy", "old")
    found["beside"] = by(bob, b, fill, "work", 2)
    found["wanted when full"] = ask("want", "alice")
    found["shown when full"] = ask("show", "alice")
    found["shown to another account"] = ask("show", "alice", "7")
    (a / "hoard").unlink()
    (a / "old").unlink()
    found["with room"] = by(alice, a, fill, "x", 1)
    found["files"] = by(alice, a, make_files)
    found["beside many"] = by(bob, b, fill, "another", 1)
    found["cleared"] = by(alice, a, clear)

    before = used(disk)
    found["ways out"] = by(alice, a, escape, "bob", bob)
    found["at the end"] = by(alice, a, fill, "rest")
    found["beyond the limit"] = max(0, used(disk) - before - LIMITS[0])

    helper = settings(files, (40 * MIB, 400))
    found["to be raised"] = program("unlimited").split()
    program("limit")
    found["raised"] = [program("unlimited"), ask("show", "alice"), by(alice, a, fill, "more")]

    come_with(files, 60)
    found["came with more"] = ask_helper("want", "carol", "3")
    carol = found["came with more"]["uid"]
    found["has more"] = [ask("show", "carol", "3"), by(carol, files / "carol", fill, "x")]

    found["left"] = ask_helper("leave", "alice")
    found["next of the name"] = [ask("want", "alice", "7"), ask("show", "alice", "7")]
    # the uid of who had limits comes again
    for path in (files / "alice", files / "carol", *(files / ".removed").iterdir()):
        shutil.rmtree(path)
    come_with(files, 60)
    found["came again"] = ask_helper("want", "carol", "4")
    found["shown again"] = ask("show", "carol", "4")

    helper = settings(files, None)
    found["to be lifted"] = program("unlimited").split()
    program("limit")
    found["lifted"] = [program("unlimited"), by(bob, b, fill, "as much", 60), ask("show", "bob")]
    # limits that somebody else set
    helper.quotas.limit(bob, (90 * MIB, 0))
    helper.limit()
    found["of the owner"] = [helper.unlimited(), helper.quotas.of(bob).limits]
    return found


def without(directory: Path) -> list[Any]:
    """Where limits cannot hold."""
    directory.mkdir(parents=True, exist_ok=True)
    helper = settings(directory / "files", LIMITS)
    on = people_files.disk(directory / "files")["quotas"]
    (directory / "files").mkdir()
    lines = [json.dumps({verb: "alice", "account": "1"}) for verb in ("want", "leave")]
    answers = [people_files.answer(helper, line).get("error") for line in lines]
    return [on, *answers, len([*(directory / "files").iterdir()])]


def away(disk: Path) -> list[Any]:
    """A disk that is in the fstab and cannot be mounted."""
    settings(disk / "files", None)
    subprocess.run(["umount", "--lazy", disk], check=True)
    Path("/srv/ext4/disk.xfs").rename("/srv/ext4/moved")
    return [ask_helper("want", "dora", "9"), len([*disk.iterdir()])]


def main() -> None:
    found: dict[str, Any] = {}
    looks: dict[str, Callable[[], Any]] = {
        "xfs": lambda: story(Path("/srv/xfs")),
        "ext4": lambda: story(Path("/srv/ext4")),
        "memory": lambda: without(Path("/srv/memory")),
        "not enforced": lambda: without(Path("/srv/counted")),
        "away": lambda: away(Path("/srv/xfs")),
    }
    for name, look in looks.items():
        try:
            found[name] = look()
        except Exception:
            found[name] = traceback.format_exc()
    print(f"RESULT {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
