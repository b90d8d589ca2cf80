"""What holds for every program that is copied to hosts."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from hubstead import programs, render

#: The others are configuration, which a program of a release reads
PYTHON = sorted(path for path in programs.ROOT.rglob("*.py") if path.read_bytes()[:2] == b"#!")
SHELL = sorted(programs.ROOT.rglob("*.sh"))


def test_a_template_is_no_program() -> None:
    """A program belongs in programs/, where linters, types and tests see it."""
    files = [path for path in render.ROOT.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert not [str(path) for path in files if path.read_bytes().startswith(b"#!")]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_python_is_of_the_standard_library_alone(path: Path) -> None:
    text = path.read_text()
    # isolated: neither the caller's directory nor the environment says what is imported
    assert text.startswith("#!/usr/bin/python3 -I\n")
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_is_read_by_a_plain_one(path: Path) -> None:
    assert path.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["/bin/sh", "-n", path], check=True)
