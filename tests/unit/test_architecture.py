"""Which module of hubstead/ may import which: settings, site, role; and no role another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.unit.plans import PROJECT

PACKAGE = PROJECT / "hubstead"
#: Each imports from those before it alone; a folder or a module of hubstead/
LAYERS = (
    {
        "diagnosis",
        "distributions",
        "dns",
        "hub",
        "pem",
        "programs",
        "progress",
        "render",
        "texts",
        "transport",
    },
    {"operations"},
    {"settings", "wheels"},
    {"secrets", "reference"},
    {"site"},
    {"notes", "parts", "releases", "wanted"},
    {"listeners"},
    {"certificates", "pages", "ports"},
    {"database", "edges", "groups", "health", "oauth"},
    {"network", "people", "rules"},
    {"roles"},
    {"doctor", "offboarding", "removal", "retire"},
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]
#: What tells of the inventory and the other hosts: the site's to read
ASKING = {"ctx_inventory", "ctx_host"}


def name(path: Path) -> str:
    """As it is imported: hubstead.roles.edge.nginx."""
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Modules and names within them that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    """The modules of hubstead/ among them."""
    known = {name(module) for module in MODULES}
    found = {one for one in imports(path) if one.startswith("hubstead.")}
    return {one if one in known else one.rpartition(".")[0] for one in found}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_arrows_point_one_way(path: Path) -> None:
    own = name(path).split(".")[1]
    for module in ours(path):
        other = module.split(".")[1]
        within = other == own and own in ("operations", "settings")
        assert within or HEIGHT[other] < HEIGHT[own], f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "roles").rglob("*.py")), ids=name)
def test_a_role_gets_the_site_and_asks_nobody(path: Path) -> None:
    assert not {one.rpartition(".")[2] for one in imports(path)} & ASKING


def test_there_is_no_circle() -> None:
    left = {name(path): ours(path) - {name(path)} for path in MODULES}
    while left:
        ground = {module for module, needs in left.items() if not needs & set(left)}
        assert ground, f"these import each other: {sorted(left)}"
        left = {module: needs for module, needs in left.items() if module not in ground}
