"""programs/examine.py: what it makes of systemd's words, and of scripts that hang or chatter."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from programs import examine

#: Of systemd 257, shortened to the units
SHOWN = """\
Result=success
Id=docker.service
Names=docker.service
LoadState=loaded
ActiveState=active

Result=exit-code
Id=jupyterhub.service
Names=jupyterhub.service
LoadState=loaded
ActiveState=activating

Result=success
Id=gone.service
Names=gone.service
LoadState=not-found
ActiveState=inactive

Result=success
Id=ssh.service
Names=ssh.service sshd.service
LoadState=loaded
ActiveState=inactive
"""


@pytest.fixture(autouse=True)
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shown").write_text(SHOWN)
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\ncat {tmp_path}/shown\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


def test_units_in_a_word() -> None:
    names = ["docker", "jupyterhub", "gone", "sshd", "other"]
    assert examine.states([f"{name}.service" for name in names]) == {
        "docker.service": "active",
        "jupyterhub.service": "activating (exit-code)",
        "gone.service": "not-found",
        "sshd.service": "inactive",
        "other.service": "unknown",
    }
    assert examine.states([]) == {}


def test_a_script_runs_where_its_units_do(tmp_path: Path) -> None:
    script = f"touch {tmp_path}/ran-$0"
    asked = {
        "well": {"units": ["docker.service"], "script": "echo one; echo two"},
        "ill": {"units": ["docker.service", "jupyterhub.service"], "script": script},
    }
    assert examine.examine(asked) == {
        "well": {"holds": True, "said": "two"},
        "ill": {"holds": False, "said": "activating (exit-code)", "unit": "jupyterhub.service"},
    }
    assert not list(tmp_path.glob("ran-*"))


def test_what_a_script_says() -> None:
    assert examine.answer("echo why; echo; exit 3") == {"holds": False, "said": "why"}
    assert examine.answer("exit 3") == {"holds": False, "said": ""}
    assert len(examine.answer("head -c 5000 /dev/zero | tr '\\0' x")["said"]) == examine.MOST


def test_a_script_that_hangs_is_ended_with_all_that_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(examine, "PATIENCE", 1)
    began = time.monotonic()
    answer = examine.answer("sleep 60 & sleep 60")
    assert answer == {"holds": False, "said": "no answer within 1 seconds"}
    assert time.monotonic() - began < 10
