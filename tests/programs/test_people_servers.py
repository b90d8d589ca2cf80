"""The program that starts people's servers, as who has taken over the Hub asks it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from programs import people_servers
from programs.people_servers import Policy, Servers, answer, resolvers, written

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks at whose files are")

FIRST, LAST = 70000, 70009
NONE: dict[str, object] = {"error": "the request is none"}
START: dict[str, Any] = {"start": "ada", "environment": {}, "arguments": []}


class Systemd:
    """What systemctl was told, and what was in the file of variables when it was to start."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.told: list[tuple[str, ...]] = []
        self.environment = ""
        self.mode = 0
        self.state = "active"
        self.fails = False

    def __call__(self, *arguments: str) -> str:
        self.told.append(arguments)
        if arguments[0] == "show":
            return "no" if "NeedDaemonReload" in arguments else self.state
        if arguments[0] == "start":
            uid = arguments[1].removeprefix("hubstead-server@").removesuffix(".service")
            file = self.run / uid / "environment"
            self.environment, self.mode = file.read_text(), file.stat().st_mode & 0o777
            if self.fails:
                raise people_servers.ServersError("systemctl start: Job failed")
        return ""

    @property
    def changes(self) -> list[str]:
        return [" ".join(each) for each in self.told if each[0] != "show"]


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    (tmp_path / "run").mkdir()
    (tmp_path / "drop-ins").mkdir()
    systemd = Systemd(tmp_path / "run")
    monkeypatch.setattr(people_servers, "systemctl", systemd)
    return systemd


@pytest.fixture
def servers(tmp_path: Path, systemd: Systemd) -> Servers:
    files = tmp_path / "files"
    for number, name in enumerate(("ada", "eve")):
        (files / name).mkdir(parents=True)
        os.chown(files / name, FIRST + number, 59000)
    policy = Policy(str(files), (FIRST, LAST), 59000, "/home/jovyan", "172.29.0.16")
    return Servers(policy, systemd.run, tmp_path / "drop-ins")


def ask(servers: Servers, request: object) -> dict[str, object]:
    return answer(servers, request if isinstance(request, str) else json.dumps(request))


def test_a_start_is_of_the_uid_that_the_files_have(servers: Servers, systemd: Systemd) -> None:
    request = START | {
        "environment": {"JUPYTERHUB_API_TOKEN": "0123", "MEM_LIMIT": "2"},
        "arguments": ["--HubOAuth.cache_max_age=15", "--X.y=z"],
    }
    unit = f"hubstead-server@{FIRST}.service"
    assert ask(servers, request) == {"address": "172.29.0.16", "unit": unit}
    assert systemd.changes == [f"stop {unit}", f"start {unit}"]
    assert systemd.environment.splitlines() == [
        'JUPYTERHUB_API_TOKEN="0123"',
        'MEM_LIMIT="2"',
        'HUBSTEAD_ARGUMENTS="--HubOAuth.cache_max_age=15 --X.y=z"',
    ]
    assert systemd.mode == 0o600
    # nothing of it stays
    assert sorted(path.name for path in (systemd.run / str(FIRST)).iterdir()) == [
        *("home", "passwd", "resolv.conf"),
    ]
    assert (systemd.run / str(FIRST) / "home").resolve() == Path(servers.policy.files, "ada")
    assert ask(servers, {"look": "ada"}) == {"runs": True, "unit": unit}
    assert ask(servers, {"look": "eve"}) == {"runs": False, "unit": ""}
    systemd.state = "failed"
    assert ask(servers, {"look": "ada"}) == {"runs": False, "unit": unit}


def test_a_stop_is_of_the_server_that_was_started(servers: Servers, systemd: Systemd) -> None:
    """Whatever has become of the files since: another person's, or none."""
    ask(servers, START)
    Path(servers.policy.files, "ada").rename(Path(servers.policy.files, ".removed"))
    systemd.told.clear()
    assert ask(servers, {"stop": "ada"}) == {}
    assert systemd.changes == [f"stop hubstead-server@{FIRST}.service"]
    assert ask(servers, {"stop": "ada"}) == {}
    assert len(systemd.changes) == 1


def test_the_next_one_of_a_name_ends_the_server_of_the_former(
    servers: Servers, systemd: Systemd
) -> None:
    ask(servers, START)
    directory = Path(servers.policy.files, "ada")
    directory.rename(Path(servers.policy.files, ".removed"))
    directory.mkdir()
    os.chown(directory, FIRST + 5, 59000)
    systemd.told.clear()
    assert ask(servers, START)["address"] == "172.29.0.21"
    assert f"stop hubstead-server@{FIRST}.service" in systemd.changes
    assert systemd.changes[-1] == f"start hubstead-server@{FIRST + 5}.service"


def test_a_start_that_fails_says_where_to_look_and_leaves_no_secret(
    servers: Servers, systemd: Systemd
) -> None:
    systemd.fails = True
    assert f"-u hubstead-server@{FIRST}.service` has the reason" in str(
        ask(servers, START)["error"]
    )
    assert not (systemd.run / str(FIRST) / "environment").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../ada", "/ada", "Ada", "a b", "ada\n", "a%i", "-4", "@1", "ada@", "ä", ".removed", 1, None, ["ada"]])  # fmt: skip # noqa: E501
@pytest.mark.parametrize("verb", ["start", "stop", "look"])
def test_what_is_no_name_is_refused(
    servers: Servers, systemd: Systemd, verb: str, name: object
) -> None:
    request = START | {"start": name} if verb == "start" else {verb: name}
    assert ask(servers, request) == NONE
    assert not systemd.told


@pytest.mark.parametrize(
    "change",
    [
        {"environment": {"LD_PRELOAD": "/tmp/x"}},
        {"environment": {"PATH": "/tmp"}},
        {"environment": {"PYTHONPATH": "/tmp"}},
        {"environment": {"HUBSTEAD_ARGUMENTS": "x"}},
        {"environment": {"jupyterhub_x": "x"}},
        {"environment": {"JUPYTERHUB_X\nLD_PRELOAD": "x"}},
        {"environment": {"JUPYTERHUB_X": "x\nLD_PRELOAD=x"}},
        {"environment": {"JUPYTERHUB_X": "x\0"}},
        {"environment": {"JUPYTERHUB_X": "\ud800"}},
        {"environment": {"JUPYTERHUB_X": "x" * 8001}},
        {"environment": {"JUPYTERHUB_X": None}},
        {"environment": ["JUPYTERHUB_X"]},
        {"environment": None},
        {"arguments": ["--config=/home/jovyan/x", "-c", "x"]},
        {"arguments": ["--X.y=a b"]},
        {"arguments": ["--X.y=$HOME"]},
        {"arguments": ["--X.y=z\n"]},
        {"arguments": "--X.y=z"},
        {"arguments": ["--X.y=z"] * 51},
        {"arguments": {"--X.y=z": 1}},
        {"groups": "physics"},
        {"groups": [1]},
        {"teaches": {"physics": True}},
        {"profile": None},
        {"memory": 1 << 40},
        {"uid": 0},
        {"stop": "eve"},
        {"properties": ["User=root"]},
    ],
)
def test_what_is_no_request_is_refused(
    servers: Servers, systemd: Systemd, change: dict[str, object]
) -> None:
    assert ask(servers, START | change) == NONE
    assert not systemd.told and list(systemd.run.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "null", "[]", "1", "x" * 70000, "[" * 9999, '{"adopt": "ada"}', '{"start": "ada"}', "�"])  # fmt: skip # noqa: E501
def test_what_is_no_json_of_ours_is_refused(servers: Servers, systemd: Systemd, text: str) -> None:
    assert answer(servers, text) == NONE
    assert not systemd.told


def test_what_is_nobodys_is_started_for_nobody(servers: Servers, systemd: Systemd) -> None:
    files = Path(servers.policy.files)
    (files / "root").mkdir()
    (files / "link").symlink_to("ada")
    (files / "file").touch()
    os.chown(files / "file", FIRST, 59000)
    (files / "beyond").mkdir()
    os.chown(files / "beyond", LAST + 1, 59000)
    for name in ("root", "link", "file", "beyond", "missing"):
        assert "error" in ask(servers, START | {"start": name})
    assert not systemd.changes


def with_groups(servers: Servers, shared: Path, **changes: Any) -> None:
    """ada is in a group, which grace teaches."""
    group: dict[str, Any] = {
        "members": ["ada", "grace"], "teachers": ["grace"], "anybody": False,
        "anybody_teaches": False, "memory": 4 << 30, "cpus": 1.5, "folder": str(shared),
        "place": "/shared/physics",
    }  # fmt: skip
    profile = {"groups": ["physics"], "memory": 8 << 30, "cpus": None}
    document = asdict(servers.policy) | {
        "groups": {"physics": group | changes},
        "profiles": {"Large": profile, "Small": profile | {"groups": [], "memory": None}},
    }
    servers.policy = Policy.read(json.loads(json.dumps(document)))


def test_limits_and_folders_are_those_of_the_policy(
    servers: Servers, systemd: Systemd, tmp_path: Path
) -> None:
    drop_in = tmp_path / f"drop-ins/hubstead-server@{FIRST}.service.d/hubstead.conf"

    def given(**said: Any) -> list[str]:
        assert "error" not in (answered := ask(servers, START | said)), answered
        return drop_in.read_text().splitlines() if drop_in.exists() else []

    assert given() == []
    with_groups(servers, tmp_path)
    limits = ["[Service]", f"MemoryMax={4 << 30}", "CPUQuota=150%"]
    shared = "TemporaryFileSystem=/shared:ro,mode=755"
    folder = f"{tmp_path}:/shared/physics"
    read, written = [shared, f"BindReadOnlyPaths={folder}"], [shared, f"BindPaths={folder}"]
    assert given() == [*limits, *read]
    # whatever who has taken over the Hub says of somebody whom the settings name
    assert given(teaches=["physics"]) == given(groups=[]) == [*limits, *read]
    assert given(profile="Large") == [limits[0], f"MemoryMax={8 << 30}", limits[2], *read]
    assert given(profile="Small") == [*limits, *read]
    with_groups(servers, tmp_path, teachers=["ada"])
    assert given() == [*limits, *written]
    with_groups(servers, tmp_path, members=[], teachers=[])
    assert given(groups=["physics"], teaches=["physics"]) == []
    # by the provider's word, which the Hub passes on
    with_groups(servers, tmp_path, members=[], teachers=[], anybody=True)
    assert given() == []
    assert given(groups=["physics"], teaches=["physics"]) == [*limits, *read]
    with_groups(servers, tmp_path, members=[], teachers=[], anybody=True, anybody_teaches=True)
    assert given(groups=["physics"], teaches=["physics"]) == [*limits, *written]
    with_groups(servers, tmp_path, memory=None, cpus=None, folder=None)
    assert given() == []


def test_what_is_not_for_somebody_is_refused_before_anything_ends(
    servers: Servers, systemd: Systemd, tmp_path: Path
) -> None:
    with_groups(servers, tmp_path, members=["grace"])
    for profile in ("Large", "Huge"):
        said = ask(servers, START | {"profile": profile, "groups": ["physics"]})
        assert said == {"error": f"the profile '{profile}' is not for ada"}
    with_groups(servers, tmp_path / "missing")
    assert "the folder of the group physics is not there" in str(ask(servers, START)["error"])
    assert not systemd.changes


def test_nobody_gets_what_the_former_server_had(
    servers: Servers, systemd: Systemd, tmp_path: Path
) -> None:
    with_groups(servers, tmp_path)
    ask(servers, START)
    assert ask(servers, {"stop": "ada"}) == {}
    assert list((tmp_path / "drop-ins").iterdir()) == []


def test_a_policy_of_an_earlier_version_has_no_groups(servers: Servers) -> None:
    document = asdict(servers.policy)
    del document["groups"], document["profiles"]
    assert Policy.read(document) == servers.policy


def test_each_value_is_written_as_it_is() -> None:
    """Rule: systemd.exec(5), EnvironmentFile=; tests/converge has systemd read it."""
    assert written({"JUPYTERHUB_X": 'a"b\\c$d`e'}) == 'JUPYTERHUB_X="a\\"b\\\\c\\$d\\`e"\n'


def test_resolvers_on_loopback_are_nobodys(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("search x\nnameserver 127.0.0.1\nnameserver ::1\nnameserver 192.0.2.1\n")
    assert resolvers(file) == "search x\nnameserver 192.0.2.1\n"
    assert resolvers(tmp_path / "missing") == ""
