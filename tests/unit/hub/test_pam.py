"""The helper that asks PAM for the Hub, and what the Hub makes of its answers.

PAM itself is asked on a lab host (tests/converge/test_accounts.py).
"""

from __future__ import annotations

import asyncio
import grp
import json
import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pamela
import pytest

from hubstead_hub.may_stay import AwayError
from hubstead_hub.pam import asked
from hubstead_hub.pam_helper import Refusal, answer, first_uid, is_locked

SHADOW = "root:*:1::::::\nada:$y$j9T$x:1::::::\neve:!$y$j9T$x:1::::::\nssh:*:1::::::\n"


@pytest.mark.parametrize(
    ("text", "uid"),
    [("UID_MIN\t\t 1000\n", 1000), ("#UID_MIN 5\n UID_MIN 500\nSYS_UID_MIN 1\n", 500), ("", 1000)],
)
def test_people_begin_where_the_host_says(text: str, uid: int) -> None:
    assert first_uid(text) == uid


def test_who_is_locked_is_told_from_who_logs_in_by_key() -> None:
    found = [is_locked(name, SHADOW) for name in ("ada", "eve", "ssh", "of-sssd")]
    assert found == [False, True, False, False]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Accounts by their uids, and what PAM says of each: 0 is yes."""
    said = {"ada": 0}
    accounts = {"root": 0, "ada": 1000, "eve": 1001, "daemon": 1, "nobody": 65534}

    def account(name: str) -> Any:
        return SimpleNamespace(pw_name=name.lower(), pw_uid=accounts[name.lower()], pw_gid=7)

    def check(name: str, *_: Any, **__: Any) -> None:
        if number := said.get(name, Refusal.AUTH_ERR):
            raise pamela.PAMError("no", errno=int(number))

    def read(path: Path) -> str:
        return {"login.defs": "UID_MIN 1000\n", "shadow": SHADOW}[path.name]

    monkeypatch.setattr(pwd, "getpwnam", account)
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 8, 9])
    monkeypatch.setattr(
        grp, "getgrgid", lambda gid: SimpleNamespace(gr_name={7: "ada", 8: "lab"}[gid])
    )
    monkeypatch.setattr(pamela, "authenticate", check)
    monkeypatch.setattr(pamela, "check_account", check)
    monkeypatch.setattr(Path, "read_text", read)
    return said


def test_people_are_told_with_their_groups(host: dict[str, int]) -> None:
    """One of the groups has no name any more."""
    expected = {"uid": 1000, "groups": ["ada", "lab"]}
    assert answer({"login": "ada", "password": "x"}) == answer({"look": "ada"}) == expected


@pytest.mark.parametrize("name", ["root", "daemon", "nobody", "eve", "nobodys", "ADA"])
def test_others_are_nobody_even_where_pam_says_yes(host: dict[str, int], name: str) -> None:
    host |= {name: 0}
    assert answer({"look": name}) is None
    assert answer({"login": name, "password": "x"}) is None


def test_no_password_of_theirs_is_tried(
    host: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right one would be told by how long an answer takes."""
    tried = []
    monkeypatch.setattr(pamela, "authenticate", lambda name, *_, **__: tried.append(name))
    for name in ("root", "eve", "nobodys", "ada"):
        answer({"login": name, "password": "x"})
    assert tried == ["-", "-", "-", "ada"]


@pytest.mark.parametrize("refusal", list(Refusal))
def test_what_pam_refuses_is_nobody(host: dict[str, int], refusal: Refusal) -> None:
    host["ada"] = refusal
    assert answer({"login": "ada", "password": "x"}) is None
    assert answer({"look": "ada"}) is None


def test_a_pam_that_cannot_tell_says_so(host: dict[str, int]) -> None:
    # PAM_AUTHINFO_UNAVAIL: of a server of accounts that is away
    host["ada"] = 9
    with pytest.raises(pamela.PAMError):
        answer({"login": "ada", "password": "x"})


def said_by(directory: Path, text: bytes) -> Any:
    """What the Hub makes of this answer of the helper's."""

    async def talk() -> Any:
        async def helper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = json.loads(await reader.readline())
            assert request == {"look": "ada"}
            writer.write(text)
            writer.close()

        async with await asyncio.start_unix_server(helper, directory / "socket"):
            return await asked({"look": "ada"}, str(directory / "socket"))

    return asyncio.run(talk())


def test_the_hub_understands_the_helper(tmp_path: Path) -> None:
    assert said_by(tmp_path, b'{"uid": 1000, "groups": []}\n') == {"uid": 1000, "groups": []}
    assert said_by(tmp_path, b"null\n") is None


@pytest.mark.parametrize("text", [b"", b"{", b'{"error": "PAM_AUTHINFO_UNAVAIL"}\n'])
def test_nobody_is_out_because_the_helper_is(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(AwayError):
        said_by(tmp_path, text)
    with pytest.raises(AwayError):
        asyncio.run(asked({"look": "ada"}, str(tmp_path / "none")))
