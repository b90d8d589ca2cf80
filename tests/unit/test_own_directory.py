"""Inventory and group data outside the clone, as docs/own.md has it; pyinfra itself runs there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plans import DEBIAN_13, PROJECT, scripted

PYINFRA = Path(sys.executable).with_name("pyinfra")
HUB = "@fake/hub.example.org"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The page's example, made as the page says, with a host that only pretends."""
    page = (PROJECT / "docs/own.md").read_text()
    commands = re.findall(r"^    ((?:cp|ln) .*)$", page, re.MULTILINE)
    assert len(commands) == 2
    (tmp_path / "hubstead").symlink_to(PROJECT)
    for command, directory in zip(commands, (tmp_path, tmp_path / "jupyter"), strict=True):
        subprocess.run(command.split(), cwd=directory, check=True)
    inventory = tmp_path / "jupyter/inventories/prod.py"
    assert "hub.example.org" in inventory.read_text()
    inventory.write_text(inventory.read_text().replace("hub.example.org", HUB))
    return tmp_path / "jupyter"


def pyinfra(
    directory: Path,
    *arguments: str,
    machine: dict[str, Any] | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    answers = json.dumps(scripted(machine or DEBIAN_13))
    data = {"fake_delay": "0", "fake_delay_jitter": "0", "fake_responses": answers}
    # a host that pretends has no name
    data["hub_names"] = '["hub.example.org"]'
    return subprocess.run(
        [PYINFRA, "--json", *(f"--data={key}={value}" for key, value in data.items()), *arguments],
        cwd=directory,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def host_data(directory: Path, *arguments: str) -> dict[str, Any]:
    done = pyinfra(directory, *arguments, "debug-inventory")
    assert done.returncode == 0, done.stderr
    (host,) = json.loads(done.stdout)
    data: dict[str, Any] = host["data"]
    return data


def test_the_example_of_the_page_is_planned(own: Path) -> None:
    secrets = PROJECT / ".secrets"
    before = sorted(secrets.rglob("*"))
    done = pyinfra(own, "--dry", "inventories/prod.py", "../hubstead/deploys/postgres.py")
    assert done.returncode == 0, done.stderr
    planned = [operation["name"] for operation in json.loads(done.stdout)["plan"]]
    assert "postgres | Create the Hub's database" in planned
    assert (own / ".secrets/fake/hub.example.org.json").exists()
    assert sorted(secrets.rglob("*")) == before
    # and they stay out of a repository that is made of it
    subprocess.run(["git", "init", "--quiet"], cwd=own, check=True)
    subprocess.run(["git", "add", "--all"], cwd=own, check=True)
    listed = subprocess.run(["git", "ls-files"], cwd=own, capture_output=True, text=True)
    assert set(listed.stdout.split()) == {
        "config.py", "inventories/prod.py", "group_data/all.py", "group_data/prod.py",
    }  # fmt: skip


def test_group_data_of_both_directories_counts(own: Path) -> None:
    beside = own / "inventories/group_data"
    beside.mkdir()
    (beside / "prod.py").write_text('hub_memory_limit = "8G"\nhub_debug = True\n')
    data = host_data(own, "inventories/prod.py")
    assert (data["hub_memory_limit"], data["hub_debug"], data["_sudo"]) == ("8G", True, True)
    assert data["hub_users"][1] == "bob"


def test_an_inventory_elsewhere_is_run_in_the_clone(own: Path) -> None:
    """The clone's defaults count, and what lies beside the inventory wins."""
    shutil.move(own / "inventories/prod.py", own / "prod.py")
    (own / "group_data/all.py").write_text('base_timezone = "Europe/Zurich"\n')
    data = host_data(PROJECT, str(own / "prod.py"))
    assert (data["_sudo"], data["hub_memory_limit"]) == (True, "4G")
    assert data["base_timezone"] == "Europe/Zurich"
    assert "ssh_paramiko_connect_kwargs" in data


def test_paths_in_settings_are_relative_to_where_pyinfra_runs(own: Path) -> None:
    choices = own / "group_data/prod.py"
    choices.write_text(f'{choices.read_text()}base_ca_certificates = ["ca/own.pem"]\n')
    arguments = ("--dry", "inventories/prod.py", "../hubstead/deploys/base.py")
    refused = pyinfra(own, *arguments)
    assert refused.returncode == 1
    assert "base_ca_certificates" in refused.stderr and "cannot be read" in refused.stderr
    (own / "ca").mkdir()
    shutil.copy(authority(own), own / "ca/own.pem")
    assert pyinfra(own, *arguments).returncode == 0


def authority(directory: Path) -> Path:
    """A certificate authority in a PEM file."""
    path = directory.parent / "authority.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=own", "-keyout", "/dev/null", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def test_without_the_link_nothing_is_touched(own: Path) -> None:
    (own / "config.py").unlink()
    # the path as `make .venv/ready` notes it down in the virtualenv
    path = {"PYTHONPATH": str(PROJECT)}
    done = pyinfra(own, "-y", "inventories/prod.py", "../hubstead/deploys/base.py", env=path)
    assert done.returncode == 1
    assert f"ln -s {PROJECT}/config.py ." in done.stderr
    assert "no host was touched" in done.stderr


def test_a_run_without_sudo_is_refused(own: Path) -> None:
    (own / "group_data/all.py").unlink()
    arguments = ("--dry", "inventories/prod.py", "../hubstead/deploys/base.py")
    done = pyinfra(own, *arguments, machine=DEBIAN_13 | {"root": False})
    assert done.returncode == 1
    assert "`_sudo = True` into group_data/all.py" in done.stderr
    # whoever logs in as root needs none
    assert pyinfra(own, *arguments, machine=DEBIAN_13 | {"root": True}).returncode == 0
