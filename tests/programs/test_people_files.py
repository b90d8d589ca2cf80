"""The program that makes people's files ready: whose they are, and how volumes come to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from programs import people_files
from programs.people_files import Files, FilesError, Places, answer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")

FIRST, LAST, GID = 70000, 70004, 59000
Ask = Callable[..., dict[str, object]]


class Docker:
    """Volumes below a directory, and which of them a container has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.used: set[str] = set()
        self.away = False

    def __call__(self, *arguments: str) -> str:
        if self.away:
            raise FilesError("docker volume: Cannot connect to the Docker daemon")
        match arguments:
            case ("volume", "ls", *_):
                return "\n".join(path.name for path in self.root.iterdir())
            case ("ps", *_, volume):
                return "0c1bed64a9a5" if volume.rpartition("=")[2] in self.used else ""
            case ("volume", "inspect", _, volume):
                return str(self.root / volume / "_data")
            case ("volume", "rm", volume):
                subprocess.run(["rm", "-r", self.root / volume], check=True)
                return ""
        raise AssertionError(arguments)

    def volume(self, name: str) -> Path:
        """One as an earlier version left it."""
        data = self.root / f"hubstead-user-{name}/_data"
        data.mkdir(parents=True)
        (data / "work.ipynb").write_text("kept")
        os.chown(data, 59000, 59000)
        os.chown(data / "work.ipynb", 59000, 59000)
        return data


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    root = tmp_path / "volumes"
    root.mkdir()
    found = Docker(root)
    monkeypatch.setattr(people_files, "docker", found)
    monkeypatch.setattr(people_files.shutil, "which", lambda name: f"/usr/bin/{name}")
    return found


@pytest.fixture
def files(tmp_path: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Files:
    skeleton = tmp_path / "skel"
    skeleton.mkdir()
    (skeleton / ".bashrc").write_text("# of the host")
    monkeypatch.setattr(people_files, "SKELETON", skeleton)
    root = tmp_path / "files"
    root.mkdir(mode=0o711)
    return Files(Places(str(root), "hubstead-user-", (FIRST, LAST), GID))


def everything(directory: Path) -> set[tuple[int, int]]:
    """Whom it belongs to, with all below."""
    found = [directory, *directory.rglob("*")]
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in found}


def removed(files: Files) -> list[Path]:
    return sorted(files.removed.iterdir())


def test_each_has_a_directory_of_a_uid_of_its_own(files: Files) -> None:
    uids = [files.want(name, number) for name, number in (("ada", "1"), ("bob", "2"), ("ada", "1"))]
    assert uids == [FIRST, FIRST + 1, FIRST]
    ada = files.root / "ada"
    assert everything(ada) == {(FIRST, GID)}
    assert ada.stat().st_mode & 0o777 == 0o700
    assert (ada / ".bashrc").read_text() == "# of the host"
    assert (ada / ".jupyter/migrated").exists()
    for path in files.root.iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_another_way_to_log_in_leaves_everybody_their_files(files: Files) -> None:
    """Whoever has the name by the new one; from then on it is theirs as before."""
    files.want("ada", "12")
    (files.root / "ada/work.ipynb").write_text("kept")
    files.want("ada", "oidc_5e.0f")
    files.want("ada", "12")
    files.want("ada", "oidc_5e.0f")
    assert (files.root / "ada/work.ipynb").read_text() == "kept"
    files.want("ada", "oidc_5e.1a")
    assert not (files.root / "ada/work.ipynb").exists()
    assert [path.name.startswith("ada.") for path in files.removed.iterdir()] == [True]


def test_the_next_one_of_a_name_gets_nothing(files: Files) -> None:
    assert files.want("ada", "1") == FIRST
    (files.root / "ada/secret").write_text("of the first")
    assert files.want("ada", "7") == FIRST + 1
    assert {path.name for path in (files.root / "ada").iterdir()} == {".bashrc", ".jupyter"}
    (aside,) = removed(files)
    assert re.fullmatch(r"ada\.20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", aside.name)
    assert (aside / "secret").read_text() == "of the first"
    # at the same second
    assert files.want("ada", "8") == FIRST + 2
    assert len(removed(files)) == 2


def test_who_is_not_known_by_number_keeps_the_files_of_the_name(files: Files) -> None:
    """While the table does not answer, or with an authenticator of the owner's."""
    assert files.want("ada", "") == files.want("ada", "1") == files.want("ada", "") == FIRST
    assert files.want("ada", "2") == FIRST + 1


def test_who_left_is_out_of_the_way_once(files: Files) -> None:
    files.want("ada", "1")
    files.leave("ada", "1")
    assert not (files.root / "ada").exists() and len(removed(files)) == 1
    files.leave("ada", "1")
    # the next one of the name was faster
    files.want("ada", "2")
    files.leave("ada", "1")
    assert (files.root / "ada").exists() and len(removed(files)) == 1


def test_who_left_leaves_nothing_where_nothing_is_kept(files: Files, tmp_path: Path) -> None:
    files.places = replace(files.places, keep=False)
    uid = files.want("ada", "hub.1")
    (files.root / "ada/out").symlink_to(tmp_path / "skel")
    # of a run that was cut
    (files.ending / "eve.2026-11-28T22:12:00Z/deep").mkdir(parents=True)
    files.leave("ada", "hub.1")
    assert list(files.ending.iterdir()) == list(files.removed.iterdir()) == []
    assert (tmp_path / "skel").is_dir() and not (files.root / "ada").exists()
    files.want("ada", "hub.2")
    # and whose name came to somebody else before the Hub had looked
    (files.root / "ada/work").touch()
    files.want("ada", "hub.3")
    assert not (files.root / "ada/work").exists() and list(files.ending.iterdir()) == []
    assert uid <= LAST


def test_uids_are_those_that_nobodys_files_have(files: Files) -> None:
    for name in "abcd":
        files.want(name, "1")
    files.leave("a", "1")
    assert files.want("e", "1") == LAST
    with pytest.raises(FilesError, match="remove some"):
        files.want("f", "1")
    # the owner removed what an account left
    subprocess.run(["rm", "-r", *removed(files)], check=True)
    assert files.want("f", "1") == FIRST


@pytest.mark.parametrize("elsewhere", [False, True], ids=["rename", "copy"])
def test_a_volume_becomes_the_directory(
    files: Files, docker: Docker, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = docker.volume("ada")
    outside = data.parents[2] / "shadow"
    outside.write_text("of the host")
    (data / "link").symlink_to(outside)
    (data / "up").symlink_to("..")
    (data / "sub").mkdir()
    (data / "sub/tool").write_text("")
    (data / "sub/tool").chmod(0o4755)
    os.mkfifo(data / "sub/pipe")
    if elsewhere:
        rename = Path.rename

        def refused(path: Path, target: Path) -> Path:
            if path == data:
                raise OSError(18, "Invalid cross-device link")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", refused)
    uid = files.want("ada", "1")
    ada = files.root / "ada"
    assert (ada / "work.ipynb").read_text() == "kept"
    assert everything(ada) == {(uid, GID)}
    assert (ada / "sub/tool").stat().st_mode & 0o6000 == 0
    # neither followed nor changed
    assert os.readlink(ada / "link") == str(outside)  # noqa: PTH115
    assert (outside.stat().st_uid, files.root.stat().st_uid) == (0, 0)
    assert not list(docker.root.iterdir())
    assert not list(files.copying.iterdir()) and not list(files.moving.iterdir())


def test_a_volume_in_use_stays_and_so_does_one_beside_a_directory(
    files: Files, docker: Docker
) -> None:
    data = docker.volume("ada")
    docker.used.add("hubstead-user-ada")
    with pytest.raises(FilesError, match="older server"):
        files.want("ada", "1")
    assert (data / "work.ipynb").exists() and not (files.root / "ada").exists()
    files.want("bob", "2")
    beside = docker.volume("bob")
    files.adopt("bob")
    files.want("bob", "2")
    assert (beside / "work.ipynb").exists()


def test_nobody_begins_anew_while_docker_is_away(files: Files, docker: Docker) -> None:
    """Their files may be in a volume."""
    docker.volume("ada")
    docker.away = True
    with pytest.raises(FilesError, match="Cannot connect"):
        files.want("ada", "1")
    docker.away = False
    files.want("ada", "1")
    assert (files.root / "ada/work.ipynb").exists()


def test_a_host_without_docker_has_no_volumes(
    files: Files, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.away = True
    monkeypatch.setattr(people_files.shutil, "which", lambda name: None)
    files.want("ada", "1")
    assert (files.root / "ada/.bashrc").exists()


def test_who_left_before_it_was_moved_is_out_of_the_way(files: Files, docker: Docker) -> None:
    docker.volume("ada")
    files.leave("ada", "")
    assert (removed(files)[0] / "work.ipynb").exists()
    files.want("ada", "2")
    assert not (files.root / "ada/work.ipynb").exists()


class CutError(BaseException):
    """The power is gone."""


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("elsewhere", [False, True], ids=["rename", "copy"])
def test_it_can_be_cut_anywhere(
    files: Files, docker: Docker, step: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first change of a name, an owner or a volume, before the second, and so on."""
    data = docker.volume("ada")
    left = step
    rename, chown = Path.rename, os.chown

    def tick() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise CutError

    def renamed(path: Path, target: Path) -> Path:
        tick()
        if elsewhere and path == data:
            raise OSError(18, "Invalid cross-device link")
        return rename(path, target)

    def chowned(*arguments: object, **options: object) -> None:
        tick()
        chown(*arguments, **options)  # type: ignore[arg-type]

    def dockered(*arguments: str) -> str:
        if arguments[:2] == ("volume", "rm"):
            tick()
        return docker(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", renamed)
        patched.setattr(os, "chown", chowned)
        patched.setattr(people_files, "docker", dockered)
        try:
            files.want("ada", "1")
        except CutError:
            assert left < 0
    uid = files.want("ada", "1")
    assert (files.root / "ada/work.ipynb").read_text() == "kept"
    assert everything(files.root / "ada") == {(uid, GID)}
    assert uid == FIRST and not list(docker.root.iterdir())


@pytest.mark.parametrize(
    "line",
    [
        "", "{}", "[]", "null", "{", '{"want": "ada"}', '{"want": "../etc", "account": ""}',
        '{"want": ".removed", "account": ""}', '{"want": "a/b", "account": ""}',
        '{"want": "", "account": ""}', '{"want": "Ada", "account": ""}',
        '{"want": "ada\\n", "account": ""}', '{"want": "ada", "account": "a/b"}',
        '{"want": "ada", "account": 1}', '{"want": 1, "account": ""}',
        '{"adopt": "ada", "account": ""}', '{"want": "ada", "leave": "bob", "account": ""}',
        '{"want": ["ada"], "account": ""}', "[" * 900,
    ],
)  # fmt: skip
def test_what_is_no_request_makes_nothing(files: Files, line: str) -> None:
    assert answer(files, line) == {"error": "the request is none"}
    assert not list(files.root.iterdir())


def test_errors_are_words_for_the_person(files: Files) -> None:
    long = "a" * 300
    refused = answer(files, json.dumps({"want": long, "account": "1"}))
    assert "File name too long" in str(refused["error"])
    files.root.rename(files.root.with_name("gone"))
    gone = answer(files, '{"want": "ada", "account": "1"}')
    assert "No such file or directory" in str(gone["error"])


def test_what_is_somebody_elses_stays_theirs(files: Files) -> None:
    """As where `hub_files` has homes of the host's accounts."""
    ada = files.root / "ada"
    ada.mkdir()
    os.chown(ada, 1000, 1000)
    with pytest.raises(FilesError, match="somebody else's"):
        files.want("ada", "1")
    assert everything(ada) == {(1000, 1000)} and not (files.accounts / "ada").exists()


def test_the_program_answers_one_line_and_ends(tmp_path: Path) -> None:
    places, root = tmp_path / "places.json", tmp_path / "files"
    root.mkdir()
    # beside a directory no volume is looked for
    (root / "ada").mkdir()
    places.write_text(json.dumps(asdict(Places(str(root), "hubstead-user-", (0, 9), 0))))
    done = subprocess.run(
        ["/usr/bin/python3", "-I", people_files.__file__, places, "answer"],
        input='{"want": "ada", "account": "1"}\n{"leave": "ada", "account": "1"}\n',
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == '{"uid": 0}\n' and (root / "ada").is_dir()
