"""Files on a host: what is compared, what is sent, and what really happens in a shell."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from pyinfra.api import OperationValueError

from hubstead.operations import files
from hubstead.operations.files import Directory, Entry, File, Link, Paths, PathState, present
from tests.unit.operations.support import ask, commands, lines

USER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


def mine(content: str, mode: str = "644") -> File:
    return File(content, mode=mode, user=USER, group=GROUP)


def apply(entries: dict[str, Entry]) -> list[str]:
    """Bring this machine to `entries`; returns the lines that it took."""
    sent = commands(present, {Paths: ask(Paths(), list(entries))}, entries=entries)
    for command in sent:
        command.run()
    return [command.line for command in sent]


def test_content_travels_on_standard_input_alone() -> None:
    (command,) = commands(present, {Paths: {}}, entries={"/etc/key": files.secret("hunter2")})
    encoded = base64.b64encode(b"hunter2").decode()
    assert command.stdin == encoded
    assert encoded not in command.line and "hunter2" not in command.line
    assert command.line.endswith(" sh /etc/key root:root 600")


def test_content_is_not_in_a_repr() -> None:
    """pyinfra prints the arguments of an operation without a name."""
    assert "hunter2" not in repr(files.secret("hunter2"))


OK = PathState("file", "644", "root", "root", sha256=File("text").as_state().sha256)


@pytest.mark.parametrize(
    ("entry", "have"),
    [
        (File("text"), OK),
        (Directory(), PathState("directory", "755", "root", "root")),
        (Directory(mode="2750"), PathState("directory", "2750", "root", "root")),
        (Link("/target"), PathState("link", "777", "root", "root", target="/target")),
        (None, None),
    ],
)
def test_what_is_right_is_left_alone(entry: Entry, have: PathState | None) -> None:
    states = {"/etc/a": have} if have else {}
    assert lines(present, {Paths: states}, entries={"/etc/a": entry}) == []


@pytest.mark.parametrize(
    ("entry", "have", "wanted"),
    [
        (File("text", mode="600"), OK, ["chmod 00600 /etc/a"]),
        (File("text", user="hub"), OK, ["chown -h hub:root /etc/a"]),
        (
            Directory(mode="700", user="hub", group="hub"),
            None,
            ["mkdir -p -- /etc/a", "chown -h hub:hub /etc/a", "chmod 00700 /etc/a"],
        ),
        (
            Link("/target"),
            PathState("link", "777", "root", "root", target="/other"),
            ["ln -sfT /target /etc/a.new && mv -fT /etc/a.new /etc/a"],
        ),
        (None, OK, ["rm -rf -- /etc/a"]),
    ],
)
def test_only_what_differs_is_changed(
    entry: Entry, have: PathState | None, wanted: list[str]
) -> None:
    states = {"/etc/a": have} if have else {}
    assert lines(present, {Paths: states}, entries={"/etc/a": entry}) == wanted


@pytest.mark.parametrize("entry", [File("text"), Link("/target")])
def test_a_directory_in_the_way_is_refused(entry: Entry) -> None:
    have = {"/etc/a": PathState("directory", "755", "root", "root")}
    with pytest.raises(OperationValueError, match="/etc/a is a directory: move it away first"):
        commands(present, {Paths: have}, entries={"/etc/a": entry})


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(OperationValueError, match="etc/a is not an absolute path"):
        commands(present, {Paths: {}}, entries={"etc/a": File("text")})


def test_everything_is_made_once(tmp_path: Path) -> None:
    """In a real shell, with names that need quoting."""
    odd = f'{tmp_path}/it\'s $HOME `id` "odd"'
    entries: dict[str, Entry] = {
        odd: Directory(mode="750", user=USER, group=GROUP),
        f"{odd}/file": mine("binary \0 and ümlaut\n", mode="640"),
        f"{odd}/empty": mine(""),
        f"{odd}/link": Link("file"),
        f"{odd}/absent": None,
    }
    assert len(apply(entries)) > 4
    assert apply(entries) == []
    assert Path(f"{odd}/link").read_text() == "binary \0 and ümlaut\n"
    assert stat.S_IMODE(Path(f"{odd}/file").stat().st_mode) == 0o640


def test_drift_is_mended_and_nothing_else_is_touched(tmp_path: Path) -> None:
    entries: dict[str, Entry] = {
        str(tmp_path / "mode"): mine("a"),
        str(tmp_path / "content"): mine("b"),
        str(tmp_path / "link"): mine("c"),
        str(tmp_path / "right"): mine("d"),
    }
    apply(entries)
    (tmp_path / "mode").chmod(0o777)
    (tmp_path / "content").write_text("edited")
    (tmp_path / "link").unlink()
    (tmp_path / "elsewhere").write_text("c")
    (tmp_path / "link").symlink_to("elsewhere")
    before = (tmp_path / "right").stat()
    assert len(apply(entries)) == 3
    assert (tmp_path / "content").read_text() == "b"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "c"
    after = (tmp_path / "right").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert apply(entries) == []


def test_a_directory_below_one_with_setgid_converges(tmp_path: Path) -> None:
    """chmod(1): a mode of four digits leaves the bit that a directory inherited."""
    (tmp_path / "staff").mkdir()
    (tmp_path / "staff").chmod(0o2775)
    entries: dict[str, Entry] = {
        str(tmp_path / "staff/hubstead"): Directory(user=USER, group=GROUP)
    }
    apply(entries)
    assert apply(entries) == []


def test_a_cut_write_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    target = tmp_path / "key"
    target.write_text("old")
    owner = tmp_path / "key.backup"
    owner.write_text("the owner's")
    command = files.write(str(target), mine("new", mode="600"))
    process = subprocess.Popen(
        ["sh", "-c", command.get_raw_value()],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    while len(list(tmp_path.iterdir())) < 3:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert target.read_text() == "old"
    (left,) = set(tmp_path.iterdir()) - {target, owner}
    assert stat.S_IMODE(left.stat().st_mode) == 0o600

    apply({str(target): mine("new", mode="600")})
    assert sorted(tmp_path.iterdir()) == [target, owner]
    assert target.read_text() == "new"


def test_a_write_that_fails_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    command = commands(
        present, {Paths: {}}, entries={str(tmp_path / "a"): File("x", user="no-such-user")}
    )[0]
    with pytest.raises(subprocess.CalledProcessError):
        command.run()
    assert list(tmp_path.iterdir()) == []
