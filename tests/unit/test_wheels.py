"""Our packages for the hosts: what is in each, which needs which, and what an edit makes anew."""

from __future__ import annotations

import ast
import re
import shutil
import tomllib
import zipfile
from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from hubstead import wheels
from hubstead.operations import releases
from tests.unit.plans import Plan
from tests.unit.test_jupyterlab import SHARED

#: Who may import whom, beside itself
NEEDS: dict[str, set[str]] = {"userdb": set(), "login": {"userdb"}, "hub": {"userdb"}}
EACH = pytest.mark.parametrize("service", sorted(NEEDS))


def dependencies(service: str) -> list[str]:
    """The names in its pyproject.toml."""
    text = (wheels.SERVICES / service / "pyproject.toml").read_text()
    named: list[str] = tomllib.loads(text)["project"]["dependencies"]
    return [re.split(r"[^a-zA-Z-]", name)[0] for name in named]


def test_every_package_is_known_here() -> None:
    assert {path.parent.name for path in wheels.SERVICES.glob("*/pyproject.toml")} == set(NEEDS)


@EACH
def test_none_imports_what_it_may_not(service: str) -> None:
    imported = set()
    for path in (wheels.SERVICES / service / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path} imports relatively"
                imported.add(str(node.module))
            elif isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
    ours = {name.split(".")[0] for name in imported if name.startswith("hubstead")}
    assert ours - {f"hubstead_{service}"} == {f"hubstead_{need}" for need in NEEDS[service]}


@EACH
def test_what_a_package_needs_is_in_its_release(service: str) -> None:
    """A wheel of ours is installed without dependencies."""
    needed = dependencies(service)
    ours = {name for name in needed if name.startswith("hubstead-")}
    assert ours == {f"hubstead-{need}" for need in NEEDS[service]}
    lock = re.findall(r"^([a-z-]+)==", releases.lock(service), re.MULTILINE)
    for package in (service, *NEEDS[service]):
        assert set(dependencies(package)) - ours <= set(lock)


def release_names(plan: Plan) -> dict[str, str]:
    """Each component with a wheel of ours, and the release that a bare host would get."""
    names = {}
    for deploy, data in (("userdb", {}), ("jupyterhub", {}), ("jupyterlab", SHARED)):
        run = plan(deploy, data=data)
        run.sent.commands.clear()
        run.execute()
        text = "\n".join(run.sent.commands)
        names |= dict(re.findall(r"/opt/hubstead/(userdb|login|hub)/releases/(\w+)", text))
    return names


def test_an_edit_makes_anew_what_runs_it_and_nothing_else(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = release_names(plan)
    assert sorted(before) == ["hub", "login", "userdb"]
    for edited, anew in (
        ("userdb/src/hubstead_userdb/table.py", {"hub", "login", "userdb"}),
        ("login/src/hubstead_login/static/login.css", {"login"}),
        ("login/pyproject.toml", {"login"}),
        ("hub/src/hubstead_hub/templates/page.html", {"hub"}),
    ):
        copy = tmp_path / edited.replace("/", "-")
        shutil.copytree(wheels.PROJECT / "services", copy)
        with (copy / edited).open("a") as file:
            file.write("\n")
        monkeypatch.setattr(wheels, "SERVICES", copy)
        after = release_names(plan)
        assert {name for name in after if after[name] != before[name]} == anew, edited


@EACH
@pytest.mark.slow
def test_a_wheel_has_all_files_of_its_package(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Templates, styles and the mark that it is typed too."""
    monkeypatch.setattr(wheels, "CACHE", tmp_path / "cache")
    wheel = wheels.built.__wrapped__(wheels.SERVICES / service)
    packed = {name for name in zipfile.ZipFile(wheel.path).namelist() if ".dist-info/" not in name}
    source = wheels.SERVICES / service / "src"
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    assert packed == {str(path) for path in files if path.suffix != ".pyc"}
    assert f"hubstead_{service}/py.typed" in packed


@pytest.mark.slow
def test_what_builds_a_wheel_is_checked_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "build.txt"
    lock.write_text(re.sub("sha256:[0-9a-f]{8}", "sha256:00000000", wheels.BUILD_LOCK.read_text()))
    monkeypatch.setattr(wheels, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(wheels, "BUILD_LOCK", lock)
    with pytest.raises(PyinfraError, match=r"(?i)hash"):
        wheels.built.__wrapped__(wheels.SERVICES / "userdb")
