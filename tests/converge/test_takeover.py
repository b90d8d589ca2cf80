"""The users of an older login come along: its table with plain passwords, taken over in a deploy.

The host has Debian 12; the commands are those of docs/login.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.kit.login_client import LoginClient
from tests.kit.shared import PORT, Shared
from tests.kit.support import PROJECT, pyinfra

pytestmark = [pytest.mark.slow, pytest.mark.every]

INVENTORY = PROJECT / "tests/inventories/takeover.py"
HOST = "old.example.edu"
LOGIN = (PROJECT / "docs/login.md").read_text()
IMPORT = "sudo hub-users import --plain-table"


@pytest.fixture(scope="module")
def shared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """The service after its second deploy, on a host whose database had the old table."""
    shared = Shared(lab, HOST, HOST, tmp_path_factory.mktemp("shared"))
    database = pyinfra(INVENTORY, "deploys/postgres.py")
    assert database.status == 0, database.end
    (table,) = re.findall(r"```sql\n(.*?)```", LOGIN, re.DOTALL)
    lab.run(HOST, "sudo -u postgres psql userdb -f -", input=table)
    (owner,) = re.findall(r"^ +(sudo -u postgres psql userdb -c .*)$", LOGIN, re.MULTILINE)
    lab.run(HOST, owner)

    refused = pyinfra(INVENTORY, "deploys/all.py")
    assert refused.status == 1 and IMPORT in refused.end
    assert f"`{IMPORT}`" in LOGIN
    assert "Took over 2 users" in lab.run(HOST, IMPORT).stdout

    finished = pyinfra(INVENTORY, "deploys/all.py")
    assert finished.status == 0, finished.end
    yield shared


def test_a_second_run_changes_nothing(shared: Shared) -> None:
    before = shared.activations()
    second = pyinfra(INVENTORY, "deploys/all.py")
    assert (second.status, second.changed) == (0, []), second.end
    assert shared.activations() == before


def test_people_log_in_with_what_they_know(shared: Shared) -> None:
    people = json.loads(shared.sudo("hub-users list --json"))
    assert {"username", "ada"} <= {person["username"] for person in people}
    ada = LoginClient(shared.site, PORT, "Ada")
    assert ada.log_in("Correct Horse").status_code in (400, 403)
    ada.log_in("correct horse")
    ada.save("work.txt", "mine")
    assert ada.request("GET", "/files/work.txt").text == "mine"
    assert ada.run(ada.kernel(), "print(6*7)") == "42\n"


def test_no_plain_password_is_left(shared: Shared) -> None:
    """Where PostgreSQL keeps its tables, or a log; the look is one that finds the hash."""
    shared.sudo("cd / && runuser -u postgres -- psql -qc CHECKPOINT")
    ask = "SELECT password_hash FROM users WHERE username = $$ada$$"
    kept = shared.sudo(f"cd / && runuser -u postgres -- psql -Atd userdb -c '{ask}'")
    look = "grep -rlFf - /var/lib/postgresql/*/main/base /var/log /etc /var/lib/hubstead || true"
    assert "/var/lib/postgresql/" in shared.sudo(look, input=kept)
    assert shared.sudo(look, input="correct horse\n") == ""


def test_it_is_not_done_twice(shared: Shared) -> None:
    before = shared.sudo("hub-users list --json")
    again = shared.lab.run(HOST, IMPORT, check=False)
    assert again.returncode == 1 and "hub-users' own already" in again.stderr
    assert shared.sudo("hub-users list --json") == before
