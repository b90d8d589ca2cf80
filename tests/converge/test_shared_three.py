"""The shared JupyterLab on three hosts, deployed by runs that are cut, and with a cable pulled."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.kit.shared import Shared
from tests.kit.support import PROJECT, cut, eventually, pyinfra

pytestmark = [pytest.mark.slow, pytest.mark.every]

INVENTORY = PROJECT / "tests/inventories/shared_three.py"
EDGE, HUB, DB = "edge.example.edu", "hub.example.edu", "db.example.edu"
#: When runs are cut, in seconds. Each goes on from where the last one was cut.
MOMENTS = random.Random()


@pytest.fixture(scope="module")
def shared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    for number in range(3):
        moment = MOMENTS.uniform(5, 30)
        print(f"cut {number + 1} after {moment:.1f} s")
        cut(moment, INVENTORY)
    lab.cut(HUB)
    finished = pyinfra(INVENTORY, "deploys/all.py")
    assert finished.status == 0, finished.end
    yield Shared(lab, HUB, EDGE, tmp_path_factory.mktemp("shared"))


def test_a_second_run_changes_nothing(shared: Shared) -> None:
    hosts = (EDGE, HUB, DB)
    before = [shared.activations(host) for host in hosts]
    second = pyinfra(INVENTORY, "deploys/all.py")
    assert (second.status, second.changed) == (0, []), second.end
    assert [shared.activations(host) for host in hosts] == before


def test_a_person_works_across_the_hosts(shared: Shared) -> None:
    ada = shared.person("ada")
    ada.save("work.txt", "mine")
    assert ada.request("GET", "/files/work.txt").text == "mine"
    assert ada.run(ada.kernel(), "print(6*7)") == "42\n"
    assert ada.log_out().status_code == 303
    assert not ada.is_logged_in()
    # the visitor's address, and not that of the edge
    assert "ada logged in from 198.18.0.1\n" in shared.sudo("journalctl -o cat -u hubstead-login")


def test_each_host_has_its_own_secrets_only(shared: Shared) -> None:
    key = shared.sudo("cat /etc/jupyterlab/credentials/secret-key").strip()
    grep = f"grep -rlsF {key} /etc /var/lib /opt/hubstead /run 2>/dev/null || true"
    assert shared.sudo(grep, host=DB) == "" and shared.sudo(grep, host=EDGE) == ""


def test_a_database_out_of_reach_is_a_page_and_comes_back(shared: Shared) -> None:
    ada = shared.person("ada")
    shared.lab.unplug(DB)
    try:
        began = time.monotonic()
        answer = ada.page("/lab")
        assert answer.status_code == 503 and time.monotonic() - began < 30
        time.sleep(20)
    finally:
        shared.lab.plug(DB)
    eventually("ada is still logged in", ada.is_logged_in)
