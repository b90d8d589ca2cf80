"""The same service on Debian 12, with its own Python, PostgreSQL and Docker."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import Lab
from tests.hub_client import HubClient, Site, patiently
from tests.support import PROJECT, pyinfra

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/bookworm.py"
HOST = "bookworm.example.org"
PASSWORD = "correct horse battery"


def test_a_person_works_on_debian_12_and_a_second_run_changes_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    first = pyinfra(INVENTORY, "deploys/all.py")
    assert first.status == 0, first.output
    second = pyinfra(INVENTORY, "deploys/all.py")
    assert second.operations > 50
    assert (second.status, second.changed, second.failed) == (0, [], [])

    authority = tmp_path / "ca.pem"
    authority.write_text(lab.run(HOST, "cat /etc/hubstead/tls/ca.pem").stdout)
    site = Site(HOST, lab.host(HOST).address, authority)
    lab.run(HOST, "sudo hub-users add dora --password-stdin", input=f"{PASSWORD}\n")

    def compute() -> None:
        dora = HubClient(site, "dora")
        dora.log_in(PASSWORD)
        dora.take_token()
        dora.start_server()
        with dora.kernel() as kernel:
            assert kernel.run("print(6*7)") == "42\n"

    compute()
    lab.reboot(HOST)
    patiently(compute)
    assert pyinfra(INVENTORY, "deploys/all.py").changed == []
