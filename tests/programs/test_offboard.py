"""Who leaves for good: an archive of the files, then no files and no account."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from programs import offboard
from programs.offboard import Leaving, OffboardError, Plan

UID = 70001
ROWS = [{"username": "ada", "enabled": True}, {"username": "bob", "enabled": True}]


class Host:
    """Directories and a users table of a host."""

    def __init__(self, root: Path) -> None:
        self.root, self.said = root, root / "said"
        self.files, self.groups, self.archives = (root / n for n in ("files", "groups", "archives"))
        self.plan = Plan(
            name="ada", escaped="ada", files=str(self.files), groups=str(self.groups),
            archives=str(self.archives), containers="hubstead-ada--", volume="hubstead-user-ada",
            rules=str(root / "rules.json"), marks=str(root / "marks.json"),
            left=str(root / "left.json"), group="root",
        )  # fmt: skip
        for name, uid in (("ada", UID), ("bob", UID + 1)):
            directory = self.files / name
            directory.mkdir(parents=True)
            (directory / "work.txt").write_text(f"of {name}")
            os.chown(directory / "work.txt", uid, 59000)
            os.chown(directory, uid, 59000)
        (self.files / ".accounts").mkdir()
        (self.files / ".accounts/ada").write_text("1\n")
        (self.files / "ada/way").symlink_to(self.files / "bob")
        (self.files / "ada/out").symlink_to("/etc/shadow")
        os.mkfifo(self.files / "ada/pipe")
        (self.groups / "physics").mkdir(parents=True)
        for name, uid in (("lesson", UID), ("other", UID + 1)):
            (self.groups / "physics" / name).touch()
            os.chown(self.groups / "physics" / name, uid, 59000)
        (self.groups / "physics/way").symlink_to("/etc/shadow")
        os.chown(self.groups / "physics/way", UID, 59000, follow_symlinks=False)

    @property
    def leaving(self) -> Leaving:
        return Leaving(self.plan)

    def tree(self) -> list[tuple[str, int, int]]:
        return sorted(
            (str(path), path.lstat().st_uid, path.lstat().st_mode)
            for path in self.root.rglob("*")
            if path != self.said
        )

    def members(self) -> dict[str, tarfile.TarInfo]:
        (archive,) = self.archives.glob("*.tar.gz")
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
        assert stat.S_IMODE(self.archives.stat().st_mode) == 0o700
        with tarfile.open(archive) as opened:
            return {member.name: member for member in opened.getmembers()}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(ROWS))
    command = tmp_path / "hub-users"
    command.write_text(
        "#!/usr/bin/env python3\n"
        "import json, pathlib, sys\n"
        f"rows, said = pathlib.Path({str(rows)!r}), pathlib.Path({str(host.said)!r})\n"
        "verb, name = sys.argv[1:3]; there = json.loads(rows.read_text())\n"
        "if verb == 'list': print(json.dumps(there)); sys.exit()\n"
        "said.open('a').write(f'{verb} {name}\\n')\n"
        "if name == 'boss': sys.exit('the last enabled admin')\n"
        "if verb == 'disable': [r.update(enabled=False) for r in there if r['username'] == name]\n"
        "if verb == 'remove': there = [r for r in there if r['username'] != name]\n"
        "rows.write_text(json.dumps(there))\n"
    )
    command.chmod(0o755)
    monkeypatch.setattr(offboard, "HUB_USERS", str(command))
    monkeypatch.setattr(offboard.shutil, "which", lambda name: None)
    return host


def uid_of(path: Path) -> int:
    return path.lstat().st_uid


def test_files_are_archived_and_gone_and_others_stay(host: Host) -> None:
    before = {path: path.read_text() for path in (host.files / "bob").rglob("*.txt")}
    seen = host.leaving.look()
    assert (seen["account"], seen["directory"], seen["files"]) == (True, True, 4)
    host.leaving.go()
    members = host.members()
    assert members["./ada/work.txt"].uid == UID and members["./ada/work.txt"].size == 6
    assert members["./ada/way"].issym() and members["./ada/out"].linkname == "/etc/shadow"
    assert members["./ada/pipe"].isfifo() and "./ada/way/work.txt" not in members
    assert not (host.files / "ada").exists() and not (host.files / ".accounts/ada").exists()
    assert {path: path.read_text() for path in (host.files / "bob").rglob("*.txt")} == before
    assert host.said.read_text() == "disable ada\nremove ada\n"
    # in folders of groups, and where no link leads
    folder = host.groups / "physics"
    assert [uid_of(folder / name) for name in ("lesson", "other", "way")] == [0, UID + 1, 0]
    assert uid_of(Path("/etc/shadow")) == 0
    # and once more
    after = host.tree()
    seen = host.leaving.look()
    assert not any(seen[key] for key in ("account", "known", "servers", "directory", "begun"))
    host.leaving.go()
    assert host.tree() == after


def test_who_made_directories_without_end_leaves_as_others_do(host: Host) -> None:
    """Deeper than Python counts calls, and opens files; tar(1) ends at 4096 bytes of a name."""
    try:
        here = os.open(host.files / "ada", os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        assert host.leaving.look()["files"] == 1504
        host.leaving.go()
        assert "./ada" + 1500 * "/d" in host.members()
        assert sorted(each.name for each in host.files.iterdir())[2:] == ["bob"]
    finally:
        # pytest could not
        subprocess.run(["rm", "-rf", host.files], check=True)


def test_nothing_is_removed_where_the_archive_is_not_whole(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = host.tree()
    real = offboard.subprocess.run

    def full(command: list[str], **options: Any) -> Any:
        if command[0] == "tar" and "--create" in command:
            return real(["sh", "-c", "echo half; echo 'no space left' >&2; exit 2"], **options)
        return real(command, **options)

    def changed(command: list[str], **options: Any) -> Any:
        if command[0] == "tar" and "--compare" in command:
            (host.files / "ada/work.txt").write_text("of Ada")
        return real(command, **options)

    for failing, words in ((full, "no space left"), (changed, "work.txt: ")):
        monkeypatch.setattr(offboard.subprocess, "run", failing)
        with pytest.raises(OffboardError, match="nothing was removed") as caught:
            host.leaving.go()
        assert words in str(caught.value)
        left = [entry for entry in host.tree() if entry not in before]
        assert {Path(path).name for path, *_ in left} <= {"archives", "ada.lock"}
        assert list(host.archives.iterdir()) == []
        assert "remove" not in host.said.read_text()
    monkeypatch.setattr(offboard.subprocess, "run", real)
    host.leaving.go()
    assert len(host.members()) == 5 and host.said.read_text().endswith("remove ada\n")


def test_a_run_that_was_cut_is_finished_by_the_next(host: Host) -> None:
    # in the midst of the archive
    host.archives.mkdir()
    (host.archives / ".ada.new").write_text("half")
    host.leaving.go()
    assert [path.suffixes for path in host.archives.iterdir()] == [[".tar", ".gz"]]
    # in the midst of the removal, with the account still there
    (host.files / ".offboarded/ada/deep").mkdir(parents=True)
    (host.root / "rows.json").write_text(json.dumps(ROWS))
    seen = host.leaving.look()
    assert seen["begun"] and not seen["directory"]
    host.leaving.go()
    assert list((host.files / ".offboarded").iterdir()) == []
    assert len(list(host.archives.iterdir())) == 1
    assert [row["username"] for row in json.loads((host.root / "rows.json").read_text())] == ["bob"]


def test_the_last_admin_is_refused_before_anything(host: Host) -> None:
    (host.root / "rows.json").write_text(json.dumps([{"username": "boss", "enabled": True}]))
    (host.files / "ada").rename(host.files / "boss")
    boss = Leaving(Plan(**{**vars(host.plan), "name": "boss", "escaped": "boss"}))
    with pytest.raises(OffboardError, match="the last enabled admin"):
        boss.go()
    assert (host.files / "boss/work.txt").exists() and not host.archives.exists()


def test_the_hub_is_told_of_whom_it_knows(host: Host) -> None:
    marks, left = host.root / "marks.json", host.root / "left.json"
    marks.write_text('{"ada": "oidc.1-in", "bob": "oidc.2-in"}')
    (host.root / "rows.json").write_text("[]")
    left.write_text('{"eve": 5}')
    assert host.leaving.look()["known"]
    host.leaving.go()
    told = json.loads(left.read_text())
    assert told.keys() == {"ada", "eve"} and told["eve"] == 5
    assert stat.S_IMODE(left.stat().st_mode) == 0o640
    assert not host.leaving.look()["known"]


def test_what_still_lets_somebody_in_is_named(host: Host) -> None:
    rules = {"allowed": ["ada"], "admins": ["bob"]}
    (host.root / "rules.json").write_text(json.dumps(rules))
    assert host.leaving.look()["still"] == ["hub_allowed_users"]
