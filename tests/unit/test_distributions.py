"""Names of the distribution stand in hubstead/distributions.py, and no role has them by itself.

The rule: no string in a role has a unit of a distribution in it or a directory of a server, or is a
package, a user or a process. Not meant is a role's own name, where it is the same as a package's
(nginx, certbot), but for what it installs and whom it gives files to. Comments and docstrings may
have them, and the texts of shell scripts commands of the same name (docker, curl).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hubstead.distributions import DISTRIBUTIONS
from tests.unit.plans import DEBIAN_12, DEBIAN_13, PROJECT, Plan

ROLES = sorted((PROJECT / "hubstead/roles").rglob("*.py"))


def named(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every name in the data, with what it is a name of."""
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from named(item, inner)
    elif isinstance(value, tuple):
        for item in value:
            yield from named(item, key)
    elif isinstance(value, str):
        yield key, value


NAMES = {name for release in DISTRIBUTIONS.values() for name in named(asdict(release))}
PARTS = [
    re.compile(rf"(?<![\w-]){re.escape(name)}")
    for key, name in NAMES
    if key.endswith("unit") or key in ("directory", "configuration")
]
WHOLE = {name for key, name in NAMES if key.endswith("packages") or key in ("user", "process")}
OWN = {path.stem for path in ROLES}
#: Arguments that are a name of the distribution, whatever the role is called
TELLING = ("packages", "user", "group", "unit")


def literal(tree: ast.AST) -> list[str]:
    """What the rule forbids, in a module."""
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            forbidden = text in WHOLE - OWN or any(part.search(text) for part in PARTS)
            if forbidden and node not in docstrings:
                found.append(f"{node.lineno}: {text}")
        elif isinstance(node, ast.keyword) and node.arg in TELLING:
            found += [
                f"{inner.lineno}: {node.arg} = {inner.value}"
                for inner in ast.walk(node.value)
                if isinstance(inner, ast.Constant) and inner.value in WHOLE
            ]
    return found


@pytest.mark.parametrize("path", ROLES, ids=lambda path: path.stem)
def test_no_role_names_what_the_distribution_calls_things(path: Path) -> None:
    assert literal(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "code",
    [
        'packages.installed(packages=["nginx"])',
        'units.running(unit="apache2.service")',
        'files.File("", user="postgres")',
        'PROXY = "www-data"',
        'SITE = f"/etc/nginx/sites-available/{name}"',
        'script = "systemctl reload nginx.service || true"',
    ],
)
def test_the_rule_finds_them(code: str) -> None:
    assert literal(ast.parse(code))


@pytest.mark.parametrize(
    ("machine", "postgres"), [(DEBIAN_12, "15"), (DEBIAN_13, "17")], ids=["bookworm", "trixie"]
)
def test_each_release_has_its_postgres(plan: Plan, machine: dict[str, Any], postgres: str) -> None:
    run = plan("postgres", machine=machine)
    run.execute()
    assert f"/etc/postgresql/{postgres}/main/conf.d/hubstead.conf" in run.files
    assert [c for c in run.sent.commands if f"enable postgresql@{postgres}-main.service" in c]
