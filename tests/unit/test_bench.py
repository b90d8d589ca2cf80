"""The parts of the bench that need no host; tests/converge/test_lab.py runs it on one."""

from pathlib import Path
from unittest.mock import Mock

import pytest

import bench.__main__
from bench.__main__ import Bench, seconds_of
from lab import Lab
from tests.unit.plans import Plan

LINES = [
    (0.0, "--> Loading config...\n"),
    (2.0, "--> Starting operation: base | Install the base packages \n"),
    (2.5, "    [hub.example.org] Success\n"),
    (5.0, "--> Starting operation: singleuser | Build the image of the users' servers \n"),
    (35.0, "--> Starting operation: Tier: checks \n"),
    (36.0, "--> Starting operation: verify | Ask for it over HTTP \n"),
    (40.0, ""),
]


def test_an_operation_takes_until_the_next_begins_or_the_run_ends() -> None:
    assert seconds_of(("singleuser", "verify"), LINES) == 34
    assert seconds_of(("base",), LINES) == 3


def test_what_is_counted_apart_is_in_a_deploy(plan: Plan) -> None:
    deploys = {name.partition(" | ")[0] for name in plan("all").names}
    assert set(Bench().apart) <= deploys


def test_the_hosts_secrets_go_with_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.__main__, "PROJECT", tmp_path)
    monkeypatch.setattr(bench.__main__, "Lab", Mock())
    secrets = tmp_path / f".secrets/{Bench.host}.json"
    secrets.parent.mkdir()

    def deploy(self: Bench, lab: Lab) -> str:
        secrets.write_text("{}")
        raise SystemExit("no space left on device")

    monkeypatch.setattr(Bench, "report", deploy)
    with pytest.raises(SystemExit, match="no space left"):
        bench.__main__.main()
    assert list(secrets.parent.iterdir()) == []
