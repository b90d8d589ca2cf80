"""The Hub asks for people's servers, where these are units of systemd."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hubstead_hub import files, servers
from hubstead_hub.rules import Group, Profile, Rules
from hubstead_hub.servers import ServersError, SystemdSpawner, ask, escaped

UNIT = "hubstead-server@70000.service"


class Helper:
    """What answers at the socket, and what it was asked."""

    def __init__(self, path: Path) -> None:
        self.path, self.asked = str(path), list[Any]()
        self.says: dict[str, dict[str, Any]] = {
            "start": {"address": "127.0.0.1", "unit": UNIT},
            "look": {"runs": True, "unit": UNIT},
            "stop": {},
        }

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        self.asked.append(request)
        (verb,) = request.keys() & self.says.keys()
        writer.write(json.dumps(self.says[verb]).encode() + b"\n")
        writer.close()

    def during(self, work: Any) -> Any:
        """What work gives while this answers."""

        async def run() -> Any:
            async with await asyncio.start_unix_server(self._answer, self.path):
                return await work()

        return asyncio.run(run())


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    helper = Helper(tmp_path / "socket")
    monkeypatch.setattr(servers.ask, "__defaults__", (helper.path,))

    async def ready(spawner: Any) -> None:
        helper.asked.append("files")

    monkeypatch.setattr(files, "ready", ready)
    return helper


@pytest.fixture
def spawner(monkeypatch: pytest.MonkeyPatch) -> Any:
    spawner = SystemdSpawner(args=["--X.y=z"])
    rules = Rules(
        declared={
            "physics": Group(teachers=frozenset({"ada@example.org"})),
            "staff": Group(members_from=frozenset({"employees"})),
            "other": Group(members=frozenset({"bob"})),
        },
        profiles=(Profile("Small"), Profile("Large", groups=frozenset({"physics"}))),
    )
    authenticator = SimpleNamespace(
        rules=SimpleNamespace(now=rules), groups_of=lambda user: {"employees"}
    )
    user = SimpleNamespace(
        name="ada@example.org", id=1, url="/user/ada", authenticator=authenticator
    )
    monkeypatch.setattr(spawner, "user", user, raising=False)
    environment = {"JUPYTERHUB_USER": "ada", "PATH": "/x", "MEM_LIMIT": 5, "JUPYTERHUB_X": None}
    monkeypatch.setattr(spawner, "get_env", lambda: environment)
    return spawner


def let_something_listen(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    """At every address, or at none."""

    async def listens(address: str, port: int) -> bool:
        return is_there

    monkeypatch.setattr(servers, "_listens", listens)


def test_names_are_in_paths_as_with_docker() -> None:
    assert escaped("ada@example.org") == "ada-40example-2eorg"
    assert escaped("Zoë") == "-5ao-c3-ab"


def test_a_start_has_files_first_and_passes_what_is_jupyterhubs(
    helper: Helper, spawner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_something_listen(monkeypatch, True)
    assert helper.during(spawner.start) == ("127.0.0.1", 8888)
    assert helper.asked == [
        "files",
        {
            "start": "ada-40example-2eorg",
            "environment": {"JUPYTERHUB_USER": "ada", "MEM_LIMIT": "5"},
            "arguments": ["--X.y=z"],
            "groups": ["physics", "staff"],
            "teaches": ["physics"],
            "profile": "Small",
        },
    ]
    spawner.user_options = {"profile": "Large"}
    helper.during(spawner.start)
    assert helper.asked[-1]["profile"] == "Large"


def test_who_waits_is_told_when_the_server_has_ended(
    helper: Helper, spawner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_something_listen(monkeypatch, False)
    helper.says["look"] = {"runs": False, "unit": UNIT}
    with pytest.raises(ServersError, match=UNIT) as error:
        helper.during(spawner.start)
    assert error.value.jupyterhub_message == str(error.value)


def test_who_has_no_helper_reads_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ServersError, match=r"hubstead-people-servers\.socket does not answer"):
        asyncio.run(ask({"look": "ada"}, str(tmp_path / "missing")))


def test_a_server_goes_on_without_the_helper(
    spawner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers.ask, "__defaults__", (str(tmp_path / "missing"),))
    monkeypatch.setattr(SystemdSpawner, "server", None)
    assert asyncio.run(spawner.poll()) is None


@pytest.mark.parametrize(("runs", "status"), [(True, None), (False, 0)])
def test_the_helper_says_whether_it_runs(
    helper: Helper, spawner: Any, monkeypatch: pytest.MonkeyPatch, runs: bool, status: int | None
) -> None:
    helper.says["look"] = {"runs": runs, "unit": UNIT}
    monkeypatch.setattr(SystemdSpawner, "server", None)
    assert helper.during(spawner.poll) == status


def test_what_answers_where_a_container_was_is_no_server(
    helper: Helper, spawner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a switch from Docker: its networks are gone, and somebody else may have the address."""

    let_something_listen(monkeypatch, True)
    server = SimpleNamespace(ip="172.30.0.2", port=8888)
    monkeypatch.setattr(SystemdSpawner, "server", server)
    spawner.load_state({"object_id": "0c1bed64a9a5", "object_name": "hubstead-ada--"})
    helper.says["look"] = {"runs": False, "unit": ""}
    assert helper.during(spawner.poll) == 0
    # of a Hub that did not keep the unit: it is known from then on, and nobody is asked
    helper.says["look"] = {"runs": True, "unit": UNIT}
    assert helper.during(spawner.poll) is None
    assert spawner.get_state()["unit"] == UNIT
    helper.asked.clear()
    assert helper.during(spawner.poll) is None and helper.asked == []
    spawner.clear_state()
    assert "unit" not in spawner.get_state()
