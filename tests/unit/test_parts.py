"""Parts: a proxy and an authenticator are added as one module each, and nothing else changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.unit.plans import PROJECT

MADE_UP = "tests/unit/made_up"


def test_one_module_is_a_choice(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    listed = ["git", "ls-files", "-cmo", "--exclude-standard", "-z"]
    files = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (PROJECT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((PROJECT / name).read_bytes())
    for part, folder in (("guide", "proxies"), ("guest_book", "authenticators")):
        module = tree / MADE_UP / f"{part}.py"
        (tree / f"hubstead/roles/hub/{folder}/{part}.py").write_bytes(module.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"{MADE_UP}/plans.py"],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout and " skipped" not in done.stdout
