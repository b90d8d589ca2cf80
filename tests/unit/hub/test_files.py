"""The Hub asks for people's files before it starts a server, and when an account is gone."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hubstead_hub import files, sessions
from hubstead_hub.files import FilesError
from tests.unit.hub.conftest import Hub


class Helper:
    """What answers at the socket, and what it was asked."""

    def __init__(self, path: Path) -> None:
        self.path, self.asked = str(path), list[Any]()
        self.says = b'{"uid": 70000}\n'

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(json.loads(await reader.readline()))
        writer.write(self.says)
        writer.close()

    def during(self, work: Any) -> Any:
        """What work gives while this answers."""

        async def run() -> Any:
            async with await asyncio.start_unix_server(self._answer, self.path):
                return await work()

        return asyncio.run(run())


class Authenticator:
    async def account(self, name: str) -> str | None:
        return f"number-of-{name}"


class DockerSpawner:
    """What of the spawner has to do with files."""

    escaped_name = "ada-40example-2eorg"

    def __init__(self, authenticator: object) -> None:
        self.user = SimpleNamespace(name="ada@example.org", authenticator=authenticator)
        self.user.spawner = self

    async def create_object(self) -> str:
        return "made"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Helper]:
    # a socket's path is 107 bytes at most (unix(7))
    monkeypatch.chdir(tmp_path)
    found = Helper(Path("socket"))
    spawners, mine = ModuleType("dockerspawner"), type("DockerSpawner", (DockerSpawner,), {})
    monkeypatch.setattr(spawners, "DockerSpawner", mine, raising=False)
    monkeypatch.setitem(sys.modules, "dockerspawner", spawners)
    monkeypatch.setattr(sessions, "LEAVING", [])
    monkeypatch.setattr(files.ask, "__defaults__", (found.path,))
    files.give_people_files()
    yield found


def spawner(authenticator: object = None) -> Any:
    return sys.modules["dockerspawner"].DockerSpawner(authenticator or Authenticator())


def test_a_server_is_made_once_its_files_are_there(helper: Helper) -> None:
    assert helper.during(spawner().create_object) == "made"
    account = "number-of-ada@example.org"
    assert helper.asked == [{"want": "ada-40example-2eorg", "account": account}]


def test_another_authenticator_knows_no_number(helper: Helper) -> None:
    assert helper.during(spawner(object()).create_object) == "made"
    assert helper.asked == [{"want": "ada-40example-2eorg", "account": ""}]


def test_who_left_is_told_with_the_former_number(helper: Helper) -> None:
    (leave,) = sessions.LEAVING
    helper.says = b"{}\n"
    helper.during(lambda: leave(spawner().user, "17"))
    assert helper.asked == [{"leave": "ada-40example-2eorg", "account": "17"}]


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b'{"error": "remove some"}\n', "could not be made ready: remove some"),
        # as where its unit cannot start
        (b"", "hubstead-people-files.socket does not answer"),
    ],
)
def test_who_has_no_files_reads_why_and_gets_no_server(
    helper: Helper, says: bytes, words: str
) -> None:
    helper.says = says
    with pytest.raises(FilesError, match=words) as caught:
        helper.during(spawner().create_object)
    # what the page shows (jupyterhub.utils.format_exception)
    assert caught.value.jupyterhub_message == str(caught.value)


def test_a_socket_that_is_not_there_is_named(helper: Helper) -> None:
    with pytest.raises(FilesError, match=r"hubstead-people-files\.socket does not"):
        asyncio.run(spawner().create_object())


GIB = 1 << 30


@pytest.mark.parametrize(
    ("answer", "said", "full"),
    [
        ({"bytes": [0, 10 * GIB], "files": [4, 655360]}, "0 KiB of 10 GiB; they are 4 of", False),
        (
            {"bytes": [9 * GIB + 1, 10 * GIB], "files": [1234, 655360]},
            "take 9 GiB of 10 GiB; they are 1,234 of at most 655,360 files",
            False,
        ),
        # never rounded up to what they may have
        ({"bytes": [10 * GIB - 1, 10 * GIB], "files": [4, 9]}, "9.9 GiB of 10 GiB", True),
        ({"bytes": [5 << 20, 10 * GIB], "files": [1000, 1000]}, "5 MiB of 10 GiB; they are", True),
        ({"bytes": [3 << 40, 1 << 40], "files": [1, 1000]}, "3 TiB of 1 TiB", True),
    ],
)
def test_people_read_what_their_files_take(answer: dict[str, Any], said: str, full: bool) -> None:
    words = files.words(answer)
    assert said in words and ("remove what you no longer need" in words) is full


def test_the_home_page_asks_for_who_looks_at_it(helper: Helper) -> None:
    shown, user = files.Shown(), spawner().user
    helper.says = json.dumps({"bytes": [0, GIB], "files": [1, 1000]}).encode() + b"\n"
    assert helper.during(shown(user)).startswith("Your files take 0 KiB of 1 GiB;")
    account = "number-of-ada@example.org"
    assert helper.asked == [{"show": "ada-40example-2eorg", "account": account}]
    helper.says = b"{}\n"
    assert helper.during(shown(user)) == ""
    # no reason not to show the page
    assert asyncio.run(shown.of(user)) == ""


def test_the_home_page_shows_it(hub: Hub) -> None:
    for name in ("archivist", "unlimited"):
        hub.person(name)
    for name, shown in (("archivist", True), ("unlimited", False)):
        browser = hub.browser()
        browser.login(name)
        page = browser.get("/hub/home").text
        assert "My Server" in page
        assert ("&lt;i&gt;The files of archivist</p>" in page) is shown
        assert ('id="files"' in page) is shown
