"""Releases: built when their inputs are new, switched in one step, and collected."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubstead.operations import releases
from hubstead.operations.releases import Releases, ReleaseState, Wheel, bootstrap, current, npm
from tests.unit.operations.support import ask, commands, lines

DIGEST = releases.digest("locked==1 --hash=sha256:00\n", "/usr/bin/python3", [])
NAME = f"{DIGEST}-python3.13"
ARGUMENTS = {"component": "hub", "lock_text": "locked==1 --hash=sha256:00\n"}
ROOT = "/opt/hubstead/hub"


def state_of(*arguments: Any, **keywords: Any) -> ReleaseState:
    """Of a host that has Python 3.13."""
    return ReleaseState(*arguments, **{"python": "3.13", **keywords})


def test_a_release_in_use_is_left_alone() -> None:
    state = state_of(complete=("old", NAME), current=NAME)
    assert lines(current, {Releases: state}, **ARGUMENTS) == []


def test_a_new_release_is_built_beside_and_then_switched_to() -> None:
    state = state_of(complete=("old",), current="old")
    build, complete, switch = commands(
        current, {Releases: state}, **ARGUMENTS, env={"UV_DEFAULT_INDEX": "https://index.test"}
    )
    assert build.line.endswith(f" sh {ROOT} {ROOT}/releases/{NAME} /usr/bin/python3")
    assert build.stdin == ARGUMENTS["lock_text"]
    assert build.env["UV_DEFAULT_INDEX"] == "https://index.test"
    assert build.env["UV_PYTHON_DOWNLOADS"] == "never"
    assert complete.line.endswith(f" sh {ROOT}/releases/{NAME} {ROOT}")
    assert switch.line == (
        f"ln -sfT releases/{NAME} {ROOT}/current.new && mv -fT {ROOT}/current.new {ROOT}/current"
    )


def test_a_complete_release_is_only_switched_to() -> None:
    """As after a run that was cut, or settings that went back."""
    (switch,) = lines(
        current, {Releases: state_of(complete=(NAME, "new"), current="new")}, **ARGUMENTS
    )
    assert switch.startswith("ln -sfT")


def test_another_interpreter_at_the_same_path_gets_another_release() -> None:
    """As after an upgrade of Debian: a virtualenv is one version's."""
    state = ReleaseState((NAME,), NAME, python="3.14", pythons={NAME: "3.13"})
    build, *_, switch = lines(current, {Releases: state}, **ARGUMENTS)
    assert f"{ROOT}/releases/{DIGEST}-python3.14" in build
    assert f"releases/{DIGEST}-python3.14 " in switch


def test_what_an_earlier_version_built_goes_on_while_its_interpreter_is_there() -> None:
    state = ReleaseState((DIGEST,), DIGEST, python="3.11", pythons={DIGEST: "3.11"})
    assert lines(current, {Releases: state}, **ARGUMENTS) == []
    state = ReleaseState((DIGEST,), DIGEST, python="3.13", pythons={DIGEST: "3.11"})
    build, *_, switch = lines(current, {Releases: state}, **ARGUMENTS)
    assert f"{ROOT}/releases/{NAME}" in build
    assert f"releases/{NAME} " in switch


def test_our_wheel_is_installed_before_the_release_is_complete(tmp_path: Path) -> None:
    wheel = Wheel(tmp_path / "ours-1-py3-none-any.whl", "identity")
    wheel.path.write_bytes(b"wheel")
    sent = commands(current, {Releases: state_of()}, **ARGUMENTS, wheels=[wheel])
    assert [command.line.split()[0] for command in sent] == [
        "sh", "mkdir", "umask", "sh", "ln",
    ]  # fmt: skip
    assert "--no-deps" in sent[2].line


def test_a_wheel_that_arrives_as_another_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "there/ours.whl"
    upload = releases._upload(str(wheel), b"what was sent")

    def arrive(data: bytes) -> subprocess.CompletedProcess[bytes]:
        script = upload.get_raw_value()
        return subprocess.run(["sh", "-c", script], input=base64.b64encode(data), check=False)

    assert arrive(b"what was sent").returncode == 0
    assert wheel.read_bytes() == b"what was sent"
    assert arrive(b"what was s").returncode != 0


@pytest.mark.parametrize(
    ("lock_text", "python", "wheels"),
    [
        ("locked==2\n", "/usr/bin/python3", []),
        ("locked==1\n", "/usr/bin/python3.13", []),
        ("locked==1\n", "/usr/bin/python3", [Wheel(Path("a.whl"), "other sources")]),
    ],
)
def test_any_other_input_is_another_release(
    lock_text: str, python: str, wheels: list[Wheel]
) -> None:
    first = releases.digest("locked==1\n", "/usr/bin/python3", [])
    assert releases.digest(lock_text, python, wheels) != first


def test_the_oldest_releases_go_and_never_those_in_use() -> None:
    state = state_of(complete=("a", "b", "c", NAME), current=NAME)
    assert lines(current, {Releases: state}, **ARGUMENTS, keep=2) == [
        f"rm -f {ROOT}/releases/{old}/.complete && rm -rf {ROOT}/releases/{old}" for old in "ab"
    ]
    before = state_of(complete=("in-use", "b", "c"), current="in-use")
    assert not any("in-use" in line for line in lines(current, {Releases: before}, **ARGUMENTS))


def test_what_a_cut_build_left_goes() -> None:
    """Of other inputs than now: those of now are built again in the same place."""
    state = state_of(complete=(NAME,), current=NAME, incomplete=("cut",))
    assert lines(current, {Releases: state}, **ARGUMENTS) == [f"rm -rf {ROOT}/releases/cut"]
    state = state_of(complete=("old",), current="old", incomplete=(NAME,))
    assert not any(line.startswith("rm") for line in lines(current, {Releases: state}, **ARGUMENTS))


def check_collected(
    build: Callable[..., Any], component: str, name: str, arguments: dict[str, Any]
) -> None:
    """Once the release is there, the oldest goes, and nothing is built again."""
    old = state_of(complete=("a", "b", name), current=name)
    (gone,) = lines(build, {Releases: old}, **arguments)
    assert gone.endswith(f"rm -rf /opt/hubstead/{component}/releases/a")
    settled = state_of(complete=(name,), current=name)
    assert lines(build, {Releases: settled}, **arguments) == []


def test_uv_is_built_by_pip_and_collected_too() -> None:
    name = releases.digest(releases.lock("uv"), "/usr/bin/python3", []) + "-python3.13"
    arguments = {"python": "/usr/bin/python3", "env": {"PIP_CERT": "/ca.pem"}, "keep": 2}
    build, complete, switch = commands(bootstrap, {Releases: state_of()}, **arguments)
    assert " -m pip install " in build.line and "--require-hashes" in build.line
    assert build.stdin == releases.lock("uv")
    assert build.env == {"PIP_CERT": "/ca.pem"}
    assert ".complete" in complete.line and switch.line.startswith("ln -sfT")
    check_collected(bootstrap, "uv", name, arguments)


def test_npm_builds_from_its_lock_and_is_collected_too() -> None:
    manifest, lock = releases.npm_lock("chp")
    name = releases.digest(manifest + lock, "npm", ())
    arguments = {"component": "chp", "env": {"NODE_EXTRA_CA_CERTS": "/ca.pem"}, "keep": 2}
    build, complete, switch = commands(npm, {Releases: state_of()}, **arguments)
    assert "npm ci --ignore-scripts --omit=dev" in build.line
    assert build.stdin == lock
    assert build.env["NODE_EXTRA_CA_CERTS"] == "/ca.pem"
    assert build.env["PATH"].startswith("/opt/hubstead/node/current/bin:")
    assert ".complete" in complete.line and switch.line.startswith("ln -sfT")
    check_collected(npm, "chp", name, arguments)


def test_releases_on_disk_are_seen_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "ROOT", str(tmp_path))
    assert ask(Releases(), "hub") == ReleaseState()
    for name in ("first", "second", "cut"):
        (tmp_path / "hub/releases" / name / "bin").mkdir(parents=True)
        if name != "cut":
            (tmp_path / "hub/releases" / name / ".complete").touch()
    (tmp_path / "hub/current").symlink_to("releases/second")
    assert ask(Releases(), "hub") == ReleaseState(("first", "second"), "second", ("cut",))
    (tmp_path / "hub/releases/second/lib/python3.11").mkdir(parents=True)
    version = "{}.{}".format(*sys.version_info)
    state: ReleaseState = ask(Releases(), "hub", sys.executable)
    assert (state.python, state.pythons) == (version, {"second": "3.11"})
    assert ask(Releases(), "hub", "/nowhere/python3").python == ""


@pytest.mark.parametrize(
    "component", ["build", "hub", "node", "singleuser", "traefik", "userdb", "uv"]
)
def test_every_lock_is_pinned_by_hash(component: str) -> None:
    text = releases.lock(component)
    requirements = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert requirements
    assert text.count("--hash=sha256:") >= len(requirements)
    assert all("==" in line for line in requirements)


def test_every_npm_package_is_pinned_by_hash_and_has_no_address() -> None:
    """npm asks the registry of the host's settings where an address is missing."""
    packages = json.loads(releases.npm_lock("chp")[1])["packages"]
    del packages[""]
    assert len(packages) > 30
    for package in packages.values():
        assert package["integrity"].startswith("sha512-") and "resolved" not in package
