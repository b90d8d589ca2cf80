"""deploys/offboard.py: what it refuses, what it says, and what it runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from hubstead.settings.model import check
from tests.unit.plans import TRUST, Plan
from tests.unit.test_groups import grouped

ADA = {"offboard_user": "ada"}
NOTHING: dict[str, Any] = {
    "account": False, "known": False, "servers": 0, "directory": False, "size": 0, "files": 0,
    "begun": False, "still": [], "volume": False,
}  # fmt: skip
SOMEBODY = NOTHING | {
    "account": True, "servers": 1, "directory": True, "size": 3 << 20, "files": 7,
}  # fmt: skip


def found(**values: Any) -> dict[str, str]:
    """What the program says of somebody."""
    return {" look": json.dumps(values)}


def test_it_says_what_it_does_before(plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pyinfra")
    run = plan("offboard", data=ADA, responses=found(**SOMEBODY))
    assert run.changing == ["Archive and remove what is ada's"]
    assert (
        "ada leaves for good. This run stops the server; archives 3.0 MiB in 7 files and "
        "directories as /srv/hubstead/offboarded/ada-DATE.tar.gz, and removes them; removes the "
        "account from the users table."
    ) in caplog.text


def test_of_who_is_not_there_nothing_changes(plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pyinfra")
    run = plan("offboard", data=ADA, responses=found(**NOTHING))
    assert run.changing == []
    assert "there is nobody of the name ada; nothing was changed" in caplog.text


@pytest.mark.parametrize(
    ("data", "state", "words"),
    [
        ({}, SOMEBODY, "--data offboard_user=NAME"),
        (ADA | {"hub_admins": ["ada"]}, SOMEBODY, "still named in `hub_admins`"),
        (ADA | {"hub_username_map": {"a@b.c": "ada"}}, SOMEBODY, "`hub_username_map`"),
        ({"offboard_user": "admin"}, SOMEBODY, "still named in `hub_users`"),
        (ADA | grouped(teachers=["ada"]), SOMEBODY, "`hub_groups['physics']`"),
        (ADA, SOMEBODY | {"still": ["hub_admins"]}, "`hub_admins` of the last deploy"),
        (ADA, SOMEBODY | {"volume": True}, "in a volume of an earlier version"),
    ],
)
def test_it_is_refused_before_anything(
    plan: Plan, data: dict[str, Any], state: dict[str, Any], words: str
) -> None:
    with pytest.raises(PyinfraError) as caught:
        plan("offboard", data=data, responses=found(**state))
    assert words in str(caught.value) and "nothing was changed" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"offboard_user": "../ada"}, "is not a user name"),
        ({"offboard_usr": "ada"}, "did you mean `offboard_user`?"),
        ({"offboard_archives": "/srv/hubstead/files/x"}, "one is within the other"),
        ({"offboard_archives": "/root/x"}, "/root is the system's"),
    ],
)
def test_bad_settings_are_named(data: dict[str, Any], words: str) -> None:
    (mistake,) = check(TRUST | data)
    assert words in mistake
