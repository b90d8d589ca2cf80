"""What the tests on lab hosts share: running pyinfra as a person would, and reading its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """A finished run of pyinfra. `changed` and `failed` are the names of such operations."""

    status: int
    output: str
    changed: list[str]
    failed: list[str]
    operations: int


def command(inventory: str | Path, *arguments: str) -> list[str]:
    """The command line that deploys to lab hosts, without a question and with a JSON report."""
    return [
        str(Path(sys.executable).with_name("pyinfra")), "-y", "--json",
        "--group-data", str(PROJECT / ".lab/group_data"), str(inventory), *arguments,
    ]  # fmt: skip


def pyinfra(inventory: str | Path, *arguments: str, env: dict[str, str] | None = None) -> Run:
    """Run pyinfra to its end. `output` is all that it printed, the report included."""
    process = subprocess.run(
        command(inventory, *arguments),
        cwd=PROJECT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    report: dict[str, Any] = json.loads(process.stdout) if process.stdout.startswith("{") else {}
    operations = report.get("results", {}).get("operations", [])
    return Run(
        process.returncode,
        process.stdout + process.stderr,
        [operation["name"] for operation in operations if operation["success"]],
        [operation["name"] for operation in operations if operation["error"]],
        len(operations),
    )
