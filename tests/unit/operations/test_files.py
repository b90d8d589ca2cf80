"""Files on a host: what is compared, what is sent, and what really happens in a shell."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pyinfra.api import OperationValueError

from hubstead.operations import files
from hubstead.operations.files import Directory, Entry, File, Link, Paths, PathState, present
from tests.unit.operations.support import ask, commands, lines

USER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


@pytest.fixture(autouse=True)
def notes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written here is noted down elsewhere than on a host."""
    monkeypatch.setattr(files, "STATE", str(tmp_path_factory.mktemp("state")))


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
    assert command.line.endswith(f" /etc/key root root 600 {files.STATE}")


def test_content_is_not_in_a_repr() -> None:
    """pyinfra prints the arguments of an operation without a name."""
    assert "hunter2" not in repr(files.secret("hunter2"))


SUM = File("text").as_state().sha256
OK = PathState("file", "644", "root", "root", sha256=SUM, written=SUM)


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
        (File("text", mode="600"), OK, ["own /etc/a root root 600"]),
        (File("text", user="hub"), OK, ["own /etc/a hub root 644"]),
        (
            Directory(mode="700", user="hub", group="hub"),
            None,
            ["umask 022; mkdir -p -- /etc/a", "own /etc/a hub hub 700"],
        ),
        (
            Link("/target"),
            PathState("link", "777", "root", "root", target="/other"),
            ["ln -sfT /target /etc/a.new && mv -fT /etc/a.new /etc/a"],
        ),
        (None, replace(OK, written=None), ["rm -rf -- /etc/a"]),
    ],
)
def test_only_what_differs_is_changed(
    entry: Entry, have: PathState | None, wanted: list[str]
) -> None:
    states = {"/etc/a": have} if have else {}
    sent = lines(present, {Paths: states}, entries={"/etc/a": entry})
    assert [
        re.sub("^python3 -I -S -c '.*'", "own", line, flags=re.DOTALL) for line in sent
    ] == wanted


@pytest.mark.parametrize("entry", [File("text"), Link("/target")])
def test_a_directory_in_the_way_is_refused(entry: Entry) -> None:
    have = {"/etc/a": PathState("directory", "755", "root", "root")}
    with pytest.raises(OperationValueError, match="/etc/a is a directory: move it away first"):
        commands(present, {Paths: have}, entries={"/etc/a": entry})


def test_others_get_through_the_directories_above(tmp_path: Path) -> None:
    """Whatever root's umask is."""
    before = os.umask(0o077)
    try:
        apply({str(tmp_path / "a/b/c"): Directory(mode="711", user=USER, group=GROUP)})
    finally:
        os.umask(before)
    for above in ("a", "a/b"):
        assert stat.S_IMODE((tmp_path / above).stat().st_mode) == 0o755


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
    # what was edited is kept as well
    assert len(apply(entries)) == 4
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


# --- links to directories


def as_root(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links of root")(test)


@as_root
def test_a_directory_on_another_disk_stays_there(tmp_path: Path) -> None:
    """An owner's link, in the place of a directory of ours."""
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o755)
    (tmp_path / "state").symlink_to("disk")
    (disk / "theirs").write_text("x")
    entries: dict[str, Entry] = {
        str(tmp_path / "state"): Directory(mode="750"),
        str(tmp_path / "state/inner"): Directory(),
        str(tmp_path / "state/file"): mine("a"),
    }
    assert len(apply(entries)) == 4
    assert apply(entries) == []
    assert (tmp_path / "state").readlink() == Path("disk")
    assert stat.S_IMODE(disk.stat().st_mode) == 0o750
    assert {path.name for path in disk.iterdir()} == {"file", "inner", "theirs"}

    disk.chmod(0o777)
    (disk / "file").write_text("edited")
    assert len(apply(entries)) == 3
    assert (disk / "file").read_text() == "a"
    assert apply(entries) == []

    apply({str(tmp_path / "state"): None})
    assert not (tmp_path / "state").is_symlink() and (disk / "theirs").exists()


@as_root
@pytest.mark.parametrize("planted", ["link", "parent", "second"])
def test_a_link_that_another_account_could_plant_is_refused(tmp_path: Path, planted: str) -> None:
    """Whoever has the directory above notebooks once had root set the mode of any directory."""
    target, home, state = tmp_path / "way/etc", tmp_path / "home", tmp_path / "home/state"
    target.mkdir(parents=True)
    home.mkdir()
    state.symlink_to("../way/etc")
    if planted == "link":
        os.chown(home, 65534, 65534)
        os.chown(state, 65534, 65534, follow_symlinks=False)
    elif planted == "parent":
        os.chown(tmp_path / "way", 65534, 65534)
    else:
        state.unlink()
        state.symlink_to("../second")
        (tmp_path / "second").symlink_to("way/etc")
        os.chown(tmp_path / "second", 65534, 65534, follow_symlinks=False)
    before = target.stat()
    names = {"link": "state", "parent": "way", "second": "second"}
    with pytest.raises(OperationValueError, match=rf"there {names[planted]} is not root's alone"):
        apply({str(state): Directory(mode="700", user=USER, group=GROUP)})
    assert target.stat() == before and state.is_symlink()


@pytest.mark.parametrize("target", ["absent", "file"])
def test_a_link_to_no_directory_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "state").symlink_to(target)
    with pytest.raises(OperationValueError, match=f"link to {target}, where no directory is"):
        apply({str(tmp_path / "state"): Directory(user=USER, group=GROUP)})


@pytest.mark.parametrize(
    "entry", [Directory(mode="700", user=USER, group=GROUP), mine("a", mode="600")]
)
def test_a_link_that_comes_in_between_is_not_followed(tmp_path: Path, entry: Entry) -> None:
    """Between the look and the command: whoever has the directory above can be that quick."""
    path, other = tmp_path / "path", tmp_path / "other"
    for each in (path, other):
        each.mkdir() if isinstance(entry, Directory) else each.write_text("a")
        each.chmod(0o755)
    command = commands(present, {Paths: ask(Paths(), [str(path)])}, entries={str(path): entry})[0]
    path.rename(tmp_path / "away")
    path.symlink_to("other")
    with pytest.raises(subprocess.CalledProcessError):
        command.run()
    assert stat.S_IMODE(other.stat().st_mode) == 0o755


LINK, END = "lrwxrwxrwx root root a -> /d/b", "drwx------ bob bob b"


@pytest.mark.parametrize(
    ("way", "name"),
    [
        (["drwxrwxrwt root root tmp", END], None),
        (["drwxr-xr-x bob bob home", LINK, "drwxr-xr-x root root d", END], None),
        ([LINK, "drwxrwxr-x root root d", END], None),
        ([LINK, "drwxrwxr-x root staff d", END], "d"),
        ([LINK, "drwxrwxrwt root root d", END], "d"),
        ([LINK, "drwxr-xr-x bob root d", END], "d"),
        (["lrwxrwxrwx bob root a -> b", END], "a"),
        ([LINK, "lrwxrwxrwx bob bob d -> c", END], "d"),
    ],
)
def test_a_way_over_links_is_roots_alone_or_doubtful(way: list[str], name: str | None) -> None:
    assert files.doubtful(["drwxr-xr-x root root /", *way]) == name


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


@pytest.mark.parametrize("after", ["the next", None])
def test_what_somebody_edited_is_kept_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, after: str | None
) -> None:
    path, state = tmp_path / "50% of/key", Path(files.STATE)
    path.parent.mkdir()
    apply({str(path): mine("ours", mode="600")})
    path.write_text("edited")
    path.chmod(0o640)
    entries: dict[str, Entry] = {str(path): mine(after, mode="600") if after else None}
    assert apply(entries) and f"{path} was edited since Hubstead wrote it" in caplog.text
    assert path.exists() == bool(after)
    (copy,) = (state / f"edited{path}").parent.iterdir()
    assert re.fullmatch(r"key\.20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", copy.name)
    assert copy.read_text() == "edited" and stat.S_IMODE(copy.stat().st_mode) == 0o640
    assert stat.S_IMODE((state / "edited").stat().st_mode) == 0o700
    caplog.clear()
    assert apply(entries) == [] and not caplog.text
    if after:
        assert apply({str(path): mine("another")})
    assert len(list(copy.parent.iterdir())) == 1 and not caplog.text


@pytest.mark.parametrize("after", ["ours", None])
def test_what_was_there_before_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, after: str | None
) -> None:
    path = tmp_path / "key"
    path.write_text("the owner's")
    assert apply({str(path): mine(after) if after else None})
    assert f"{path} was there before" in caplog.text
    (copy,) = (Path(files.STATE) / f"edited{path}").parent.iterdir()
    assert copy.read_text() == "the owner's"
    assert apply({str(path): mine("another")})
    assert len(list(copy.parent.iterdir())) == 1


def test_what_we_wrote_ourselves_is_not_kept(tmp_path: Path) -> None:
    """Nor what an earlier version wrote, which made no notes: it makes up for them."""
    path = tmp_path / "key"
    path.write_text("Written by Hubstead, an earlier one.")
    assert len(apply({str(path): mine("ours")})) == 1
    for note in Path(files.STATE, "written").iterdir():
        note.unlink()
    assert len(apply({str(path): mine("ours")})) == 1
    assert apply({str(path): mine("ours")}) == []
    assert len(apply({str(path): mine("the next")})) == 1
    assert path.read_text() == "the next" and not (Path(files.STATE) / f"edited{tmp_path}").exists()
    # nothing is left of what goes
    apply({str(tmp_path): None})
    assert not [n for n in Path(files.STATE, "written").iterdir() if tmp_path.name in n.name]
