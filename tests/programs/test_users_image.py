"""The program that builds and refreshes the users' image, with a docker that only pretends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hubstead.programs import ROOT

PROGRAM = ROOT / "users_image.py"
IMAGE = "hubstead/singleuser:0123456789ab"
#: `apt-get -s full-upgrade`, as Debian 13 prints it
DUE = """\
Reading package lists...
Inst libssl3t64 [3.5.1-1] (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
Inst less [643-1] (643-2 Debian:13.2/stable [amd64]) []
Inst libnew1 (1.0-1 Debian-Security:13/stable-security [amd64])
Conf libssl3t64 (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
"""
# Keeps the engine's state in a file, as the test has put it there.
DOCKER = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
path = Path(os.environ["ENGINE"])
engine = json.loads(path.read_text())
words = sys.argv[1:]
engine["calls"].append(" ".join(words))
def image(name):
    number = engine["tags"].get(name, name)
    if number not in engine["images"]:
        sys.exit(f"Error: No such image: {{name}}")
    return number
def main():
    if words[:2] == ["image", "inspect"]:
        number = image(words[4])
        print({{"{{{{.Id}}}}": number, "{{{{.Size}}}}": 1 << 20,
            "{{{{len .RepoTags}}}}": list(engine["tags"].values()).count(number),
            "{{{{len .RepoDigests}}}}": 0}}[words[3]])
    elif words[:2] == ["image", "ls"]:
        print(*engine["tags"], sep="\\n")
    elif words[0] == "run":
        sys.exit("E: no mirror answers") if engine["due"] is None else print(engine["due"])
    elif words[0] == "build":
        engine["cache"] += ["half"]
        if engine["broken"]:
            sys.exit("E: no index answers")
        number = f"sha256:{{len(engine['calls'])}}"
        engine["images"].append(number)
        engine["tags"][words[words.index("--tag") + 1]] = number
        engine["cache"] += ["whole"]
        engine["due"] = ""
    elif words[:2] == ["image", "rm"]:
        number = image(words[2])
        if number in engine["used"]:
            sys.exit("Error: image is being used by running container")
        engine["images"].remove(number)
    elif words[:2] == ["system", "df"]:
        print(*engine["cache"], sep="\\n")
    elif words[:2] == ["builder", "prune"]:
        # Docker keeps what another one is made from, and says nothing
        if words[-1].endswith(f"=id={{engine['cache'][-1]}}"):
            engine["cache"].pop()
    elif words[0] == "info":
        print(engine["root"])
try:
    main()
finally:
    path.write_text(json.dumps(engine))
"""


@dataclass
class Host:
    """A host with such a docker."""

    directory: Path

    @property
    def engine(self) -> dict[str, Any]:
        engine: dict[str, Any] = json.loads((self.directory / "engine.json").read_text())
        return engine

    def set(self, **values: Any) -> None:
        engine = {**self.engine, "calls": [], **values}
        (self.directory / "engine.json").write_text(json.dumps(engine))

    def run(self, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", PROGRAM, action, self.directory / "context", *arguments],
            env={
                "PATH": f"{self.directory}:{os.environ['PATH']}",
                "ENGINE": str(self.directory / "engine.json"),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def runs(self) -> list[str]:
        """Containers that were started: from their names on."""
        calls = [call for call in self.engine["calls"] if call.startswith("run ")]
        return [call[call.index("--name=") :] for call in calls]

    @property
    def builds(self) -> list[str]:
        return [call for call in self.engine["calls"] if call.startswith("build ")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "context").mkdir()
    (tmp_path / "context/image").write_text(f"{IMAGE}\n")
    (tmp_path / "context/Dockerfile").write_text("# ours\nFROM debian:trixie-slim\nRUN true\n")
    engine = {
        "tags": {IMAGE: "sha256:first"}, "images": ["sha256:first"], "used": [], "due": "",
        "broken": False, "cache": ["owner"], "root": str(tmp_path), "calls": [],
    }  # fmt: skip
    (tmp_path / "engine.json").write_text(json.dumps(engine))
    return Host(tmp_path)


def test_an_image_without_updates_is_left_alone(host: Host) -> None:
    done = host.run("refresh")
    assert (done.returncode, host.builds) == (0, [])
    assert "no updates" in done.stdout


HELD = f"--name=hubstead-holder --network=hubstead {IMAGE} infinity"


def test_the_image_and_the_network_are_held(host: Host) -> None:
    assert host.run("hold", "hubstead").returncode == 0
    assert (host.runs, host.builds) == ([HELD], [])


def test_an_image_that_is_gone_is_built_before_it_is_held(host: Host) -> None:
    host.set(tags={}, images=[])
    assert host.run("hold", "hubstead").returncode == 0
    assert len(host.builds) == 1 and host.runs == [HELD]


def test_a_base_that_no_registry_has_is_held_too(host: Host) -> None:
    base = "debian:trixie-slim"
    host.set(tags={IMAGE: "sha256:first", base: "sha256:b"}, images=["sha256:first", "sha256:b"])
    assert host.run("hold", "hubstead").returncode == 0
    assert host.runs == [f"--name=hubstead-base-holder --network=none {base} infinity", HELD]


def test_updates_make_a_new_image_under_the_same_name(host: Host) -> None:
    host.set(due=DUE)
    done = host.run("refresh")
    assert done.returncode == 0, done.stderr
    assert "libssl3t64 3.5.1-1 to 3.5.1-1+deb13u1, less 643-1 to 643-2" in done.stdout
    assert "libnew1 none to 1.0-1" in done.stdout
    assert "next start" in done.stdout
    assert len(host.builds) == 1 and "--no-cache" in host.builds[0]
    engine = host.engine
    assert engine["images"] == [engine["tags"][IMAGE]] != ["sha256:first"]
    # what a build leaves behind would keep the files of an image that is gone; the owner's stays
    assert engine["cache"] == ["owner"]
    host.set()
    assert (host.run("refresh").returncode, host.builds) == (0, [])


def test_an_image_of_a_server_stays_until_that_has_stopped(host: Host) -> None:
    host.set(due=DUE, used=["sha256:first"])
    assert host.run("refresh").returncode == 0
    assert "sha256:first" in host.engine["images"]
    host.set(used=[])
    host.run("refresh")
    assert host.engine["images"] == [host.engine["tags"][IMAGE]]


def test_an_image_that_the_owner_gave_a_name_stays(host: Host) -> None:
    host.set(due=DUE, tags={IMAGE: "sha256:first", "mine:kept": "sha256:first"})
    host.run("refresh")
    host.run("refresh")
    assert "sha256:first" in host.engine["images"]


def test_a_build_that_fails_leaves_the_image_that_works(host: Host) -> None:
    host.set(due=DUE, broken=True)
    for _ in range(2):
        done = host.run("refresh")
        assert done.returncode == 1
        assert "no index answers" in done.stderr and "was not built" in done.stderr
        assert host.engine["tags"] == {IMAGE: "sha256:first"}
        assert host.engine["images"] == ["sha256:first"]
        assert host.engine["cache"] == ["owner"]
    host.set(broken=False)
    assert host.run("refresh").returncode == 0
    assert host.engine["images"] == [host.engine["tags"][IMAGE]] != ["sha256:first"]


def test_a_mirror_that_is_away_is_no_good_news(host: Host) -> None:
    host.set(due=None)
    done = host.run("refresh")
    assert (done.returncode, host.builds) == (1, [])
    assert "no mirror answers" in done.stderr


def test_a_full_disk_is_not_filled_further(host: Host) -> None:
    text = PROGRAM.read_text()
    assert "SPARE = 500\n" in text
    hungry = host.directory / "users-image"
    free = shutil.disk_usage(host.directory).free >> 20
    hungry.write_text(text.replace("SPARE = 500\n", f"SPARE = {free * 2}\n"))
    host.set(due=DUE)
    done = subprocess.run(
        [sys.executable, "-I", hungry, "refresh", host.directory / "context"],
        env={"PATH": f"{host.directory}:/usr/bin", "ENGINE": f"{host.directory}/engine.json"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, host.builds) == (1, [])
    assert "Make room; the image stays as it is" in done.stderr


def test_a_deploy_builds_what_is_not_there_and_nothing_else(host: Host) -> None:
    assert (host.run("build").returncode, host.builds) == (0, [])
    host.set(tags={}, images=[])
    assert host.run("refresh").returncode == 0
    assert host.builds == []
    assert host.run("build").returncode == 0
    assert len(host.builds) == 1 and "--no-cache" not in host.builds[0]


def context(directory: Path, tag: str) -> str:
    """A build context, and the name of its image."""
    directory.mkdir(exist_ok=True)
    name = f"hubstead/singleuser:{tag}"
    (directory / "image").write_text(f"{name}\n")
    (directory / "Dockerfile").write_text(f"FROM debian:trixie-slim\nRUN echo {tag}\n")
    return name


def test_another_context_takes_its_place_once_its_image_is_built(host: Host) -> None:
    new = context(host.directory / "context.new", "feedfeedfeed")
    assert host.run("replace", new).returncode == 0
    # it begins with what it has in common with the one that is there
    (build,) = host.builds
    assert f"--cache-from={IMAGE} " in build and "BUILDKIT_INLINE_CACHE=1" in build
    assert build.endswith("context.new")
    assert (host.directory / "context/image").read_text() == f"{new}\n"
    assert not (host.directory / "context.new").exists()
    # back again: both images are there
    context(host.directory / "context.new", IMAGE.rpartition(":")[2])
    host.set()
    assert (host.run("replace", IMAGE).returncode, host.builds) == (0, [])
    assert (host.directory / "context/image").read_text() == f"{IMAGE}\n"
    # a run that was cut went on, and did so before the one that comes after it
    assert (host.run("replace", IMAGE).returncode, host.builds) == (0, [])
    assert host.run("replace", new).returncode != 0


def test_a_context_that_cannot_be_built_takes_nobodys_place(host: Host) -> None:
    new = context(host.directory / "context.new", "feedfeedfeed")
    host.set(broken=True)
    done = host.run("replace", new)
    assert done.returncode == 1
    assert "no index answers" in done.stderr and "was not built" in done.stderr
    assert (host.directory / "context/image").read_text() == f"{IMAGE}\n"
    # what keeps the image, and keeps it fresh, goes on with it
    host.set(broken=False)
    assert host.run("hold", "hubstead").returncode == 0
    assert (host.runs, host.builds) == ([HELD], [])
