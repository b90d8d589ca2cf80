"""What the tests on lab hosts share: running pyinfra as a person would, and reading its report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests import timing

PROJECT = Path(__file__).parents[2]
#: Whether the snapshots of lab hosts stay, for the next run of the tests
KEEP = bool(os.environ.get("HUBSTEAD_KEEP"))


@dataclass(frozen=True)
class Run:
    """A finished run of pyinfra. `changed`, `failed` and `planned` are names of operations.

    A dry run plans and changes nothing; a real one makes no plan.
    """

    status: int
    output: str
    changed: list[str]
    failed: list[str]
    planned: list[str]
    operations: int

    @property
    def end(self) -> str:
        """The last lines of the output: why it failed."""
        return "\n".join(self.output.splitlines()[-40:])


def command(inventory: str | Path, *arguments: str) -> list[str]:
    """The command line that deploys to lab hosts, without a question and with a JSON report."""
    return [
        str(Path(sys.executable).with_name("pyinfra")), "-y", "--json",
        "--group-data", str(PROJECT / ".lab/group_data"), str(inventory), *arguments,
    ]  # fmt: skip


def pyinfra(inventory: str | Path, *arguments: str, env: dict[str, str] | None = None) -> Run:
    """Run pyinfra to its end. `output` is all that it printed, the report included."""
    return finish(command(inventory, *arguments), env)


def dry(inventory: str | Path, *arguments: str) -> Run:
    """Ask pyinfra what it would do."""
    with_answer = command(inventory, "--dry", *arguments)
    return finish([word for word in with_answer if word != "-y"])


def cut(
    seconds: float,
    inventory: str | Path,
    *arguments: str,
    power: Callable[[], object] = bool,
    script: str = "deploys/all.py",
) -> bool:
    """Start a deploy, and kill it after a while. Returns whether it was still at work.

    + power: cuts the host's, just before.
    """
    process = subprocess.Popen(
        command(inventory, script, *arguments),
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        power()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def finish(command: list[str], env: dict[str, str] | None = None, tree: Path = PROJECT) -> Run:
    """Run a command line of pyinfra's in a tree, and read its report."""
    with timing.deploy():
        process = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            cwd=tree,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
    report: dict[str, Any] = json.loads(process.stdout) if process.stdout.startswith("{") else {}
    operations = (report.get("results") or {}).get("operations", [])
    return Run(
        process.returncode,
        process.stdout + process.stderr,
        [operation["name"] for operation in operations if operation["success"]],
        [operation["name"] for operation in operations if operation["error"]],
        [
            operation["name"]
            for operation in report.get("plan", [])
            if operation["hosts_with_change"]
        ],
        len(operations),
    )


def down(lab: Lab, inventory: Path) -> None:
    """Remove an inventory's hosts and their secrets; the snapshots of them stay."""
    names = [host.name for host in lab.hosts() if host.inventory == str(inventory)]
    lab.down(inventory, keep_snapshots=True)
    for name in names:
        (PROJECT / f".secrets/{name}.json").unlink(missing_ok=True)


def params(cases: Iterable[str], further: Container[str]) -> list[Any]:
    """Parameters of tests; those that are `further` are left to `make test-all`."""
    return [
        pytest.param(case, marks=[pytest.mark.every] if case in further else []) for case in cases
    ]


def eventually(what: str, condition: Callable[[], bool], seconds: float = 180) -> None:
    """Wait until `condition` holds; fail, naming `what` was awaited, when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)
