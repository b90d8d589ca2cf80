"""Hosts that an earlier commit deployed: one run of this tree is enough, and people notice nothing.

The earlier tree comes out of the repository's history.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from lab.acme import Pebble
from tests.kit.hub_client import HubClient, Kernel, Site, patiently
from tests.kit.service import INVENTORY, NAME, PASSWORD, Service
from tests.kit.shared import Shared
from tests.kit.support import PROJECT, command, down, finish, pyinfra

pytestmark = [pytest.mark.slow, pytest.mark.every]

#: The last one before the present issue
BEFORE = "0859a960bfe6372a3428ae900cc38ba25ccbfab9"
#: Where the history is: a lane's copy of the tree has none
HISTORY = Path(os.environ.get("HUBSTEAD_HISTORY", PROJECT))
THREE = PROJECT / "inventories/prod.py"
EDGE, HUB = "jupyter.example.com", "hub.example.com"
SHARED = PROJECT / "inventories/jupyterlab_login.py"
LAB = "lab.example.org"


@pytest.fixture(scope="module")
def before() -> Path:
    """The earlier tree. Its runs make and find secrets where those of this one do."""
    tree = PROJECT / ".build/before"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", BEFORE], cwd=HISTORY, capture_output=True)
    assert archive.returncode == 0, f"{HISTORY} does not have the commit {BEFORE}"
    subprocess.run(["tar", "-x"], cwd=tree, input=archive.stdout, check=True)
    secrets = PROJECT / ".secrets"
    secrets.mkdir(mode=0o700, exist_ok=True)
    (tree / ".secrets").symlink_to(secrets)
    return tree


def deploy_before(tree: Path, inventory: Path) -> None:
    """As somebody did it then, with the inventory of then."""
    former = tree / inventory.relative_to(PROJECT)
    run = finish(command(former, "deploys/all.py"), {"PYTHONPATH": str(tree)}, tree)
    assert run.status == 0, run.end


def deploy_twice(inventory: Path) -> None:
    """The run that carries the hosts over, and one that has nothing to do."""
    first = pyinfra(inventory, "deploys/all.py")
    assert first.status == 0, first.end
    second = pyinfra(inventory, "deploys/all.py")
    assert (second.status, second.changed) == (0, []), second.end


def serial(lab: Lab, host: str, port: int = 443) -> str:
    """Of the certificate that visitors are shown."""
    ask = f"openssl s_client -connect localhost:{port} </dev/null 2>/dev/null"
    return lab.run(host, f"{ask} | openssl x509 -noout -serial").stdout


def check_kept(kernel: Kernel) -> None:
    patiently(kernel.connect)
    assert kernel.run("print(memory)") == "kept\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    for inventory in (INVENTORY, THREE, SHARED):
        down(lab, inventory)


def test_one_host(lab: Lab, before: Path, tmp_path: Path) -> None:
    lab.up(INVENTORY)
    deploy_before(before, INVENTORY)
    service = Service(lab, tmp_path)
    # one whose server is off at the time of the deploy, and one at work
    service.person("bob").notebook("bobs.ipynb", "2 + 2")
    patiently(service.person("bob").stop_server)
    service.person("ada").notebook("adas.ipynb", "1 + 1")
    with service.person("ada").kernel() as kernel:
        kernel.run("memory = 'kept'")
        shown = serial(lab, NAME)
        deploy_twice(INVENTORY)
        check_kept(kernel)
        assert serial(lab, NAME) == shown
        assert service.person("ada").cells("adas.ipynb") == ["1 + 1"]
    # also with their tokens of before
    assert service.person("bob").cells("bobs.ipynb") == ["2 + 2"]
    # a server from before is the Hub's to end, and to start
    patiently(service.person("ada").stop_server)
    with service.person("ada").kernel() as kernel:
        assert kernel.run("print(6*7)") == "42\n"
    assert service.person("ada").cells("adas.ipynb") == ["1 + 1"]
    assert service.visitor("ada").try_to_log_in(PASSWORD).status_code == 302


def test_three_hosts_with_acme(lab: Lab, before: Path, tmp_path: Path) -> None:
    lab.up(THREE)
    deploy_before(before, THREE)
    ca = tmp_path / "ca.pem"
    ca.write_text(Pebble(lab).root())
    add = "sudo hub-users add alice --password-stdin"
    lab.run(HUB, add, input=f"{PASSWORD}\n")
    site = Site(EDGE, lab.host(EDGE).address, ca, servers="servers.example.com")
    alice = HubClient(site, "alice")
    alice.log_in(PASSWORD)
    alice.take_token()
    alice.start_server()
    with alice.kernel() as kernel:
        kernel.run("memory = 'kept'")
        deploy_twice(THREE)
        check_kept(kernel)


def test_the_shared_jupyterlab(lab: Lab, before: Path, tmp_path: Path) -> None:
    lab.up(SHARED)
    deploy_before(before, SHARED)
    shared = Shared(lab, LAB, LAB, tmp_path)
    ada = shared.person("ada")
    kernel = ada.kernel()
    ada.run(kernel, "kept = 42")
    shown = serial(lab, LAB, 30088)
    deploy_twice(SHARED)
    assert serial(lab, LAB, 30088) == shown
    # the session goes on as well
    assert patiently(lambda: ada.run(kernel, "print(kept)")) == "42\n"
