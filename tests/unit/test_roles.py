"""Whole roles on hosts that only pretend (pyinfra's @fake): the plan, its names, its secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyinfra
import pytest
from pyinfra.api import Config, State
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import _MISSING_COMMAND_MARKER
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra_cli.util import load_deploy_file

from hubstead import wheels
from hubstead.operations.releases import Wheel

PROJECT = Path(__file__).parents[2]
HUB = "@fake/hub.example.org"
DEBIAN_13: dict[str, Any] = {
    "os": "debian", "version": "13", "codename": "trixie", "architecture": "x86_64",
    "cores": 2, "memory": 24105, "free_disk": 74737, "systemd": True, "bare": True,
    "listeners": {"22": ["sshd"]},
}  # fmt: skip
DEBIAN_12 = DEBIAN_13 | {"version": "12", "codename": "bookworm"}


def scripted(machine: dict[str, Any]) -> dict[str, str]:
    """What the facts of a bare host print."""
    return {
        "python3 -c": json.dumps(machine),
        "connection=$": "user=deploy\nconnection=198.18.0.1 51022 198.18.0.10 22\nkeys=yes",
        "${SSH_CONNECTION-}": "198.18.0.1 51022 198.18.0.10 22",
        "ip -json address": "[]",
        "if command -v": _MISSING_COMMAND_MARKER,
    }


@dataclass
class Sent:
    """What reached a host: commands, and the standard input of each."""

    commands: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)


@dataclass
class Run:
    """A run of a deploy against hosts that pretend."""

    state: State
    sent: Sent

    @property
    def names(self) -> list[str]:
        """The operations in their order."""
        return [name for op in self.state.get_op_order() for name in self.state.op_meta[op].names]

    @property
    def changing(self) -> list[str]:
        """The operations that would change something."""
        return [
            name
            for op in self.state.get_op_order()
            for name in self.state.op_meta[op].names
            if any(ops[op].operation_meta.will_change for ops in self.state.ops.values())
        ]

    def execute(self) -> None:
        self.state.set_stage(StateStage.Execute)
        run_ops(self.state)


Plan = Callable[..., Run]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    """Plan a deploy for a host whose facts say `machine`."""
    sent = Sent()
    original = FakeConnector.run_shell_command

    def record(self: FakeConnector, command: Any, **arguments: Any) -> Any:
        sent.inputs.append(str(arguments.get("_stdin") or ""))
        result = original(self, command, **arguments)
        sent.commands.append(command if isinstance(command, str) else command.get_raw_value())
        return result

    wheel = tmp_path / "hubstead_userdb-0-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    monkeypatch.setattr(wheels, "userdb", lambda: Wheel(wheel, "identity"))
    monkeypatch.setattr(FakeConnector, "run_shell_command", record)
    # operations are told apart by the lines of the deploy, as in a real run
    monkeypatch.setattr(pyinfra, "is_cli", True)
    monkeypatch.chdir(tmp_path)

    def make(
        deploy: str = "all",
        machine: dict[str, Any] = DEBIAN_13,
        data: dict[str, Any] | None = None,
        **groups: list[str],
    ) -> Run:
        hosts = groups or {"hub": [HUB]}
        everything = {"fake_delay": 0, "fake_delay_jitter": 0, "fake_responses": scripted(machine)}
        names = list(dict.fromkeys(name for group in hosts.values() for name in group))
        inventory = Inventory(
            (names, {**everything, "_sudo": True, **(data or {})}),
            **{group: (members, {}) for group, members in hosts.items()},
        )
        state = State(inventory, Config(FAIL_PERCENT=0))
        ctx_state.set(state)
        ctx_inventory.set(inventory)
        ctx_config.set(state.config)
        connect_all(state)
        state.set_stage(StateStage.Prepare)
        load_deploy_file(state, str(PROJECT / "deploys" / f"{deploy}.py"))
        return Run(state, sent)

    yield make
    for context in (ctx_host, ctx_config, ctx_inventory, ctx_state):
        context.reset()


def made_secrets(directory: Path) -> dict[str, str]:
    (file,) = (directory / ".secrets").rglob("*.json")
    values: dict[str, str] = json.loads(file.read_text())
    return values


@pytest.mark.parametrize("machine", [DEBIAN_13, DEBIAN_12], ids=["trixie", "bookworm"])
def test_a_bare_host_gets_a_whole_plan(plan: Plan, machine: dict[str, Any]) -> None:
    run = plan(machine=machine)
    changing = run.changing
    for name in (
        "base | Install the base packages",
        "python | Build the release of uv",
        "postgres | Create the Hub's database",
        "userdb | Declare the people of the settings",
        "docker | Create the users' network",
        "singleuser | Build the image of the users' servers",
        "tls | Issue the certificate",
        "jupyterhub | Run JupyterHub",
        "firewall | Enforce the firewall's rules",
    ):
        assert name in changing
    assert changing.index("base | Install the base packages") == 0
    assert changing.index("traefik | Run Traefik") < changing.index("jupyterhub | Run JupyterHub")


def test_a_plan_writes_nothing(plan: Plan) -> None:
    """Every command of a plan is a fact, and none of them takes standard input."""
    run = plan()
    assert len(run.sent.commands) > 30
    assert not any(run.sent.inputs)
    for word in ("apt-get", "useradd", "mkdir", "chown", "rm -rf", "systemctl restart", "base64"):
        assert not [command for command in run.sent.commands if word in command]


def test_each_debian_gets_its_own_packages(plan: Plan) -> None:
    run = plan(machine=DEBIAN_12)
    run.execute()
    commands = "\n".join(run.sent.commands)
    assert "postgresql-15" in commands and "postgresql-17" not in commands
    assert "docker-buildx" not in commands


def test_every_operation_has_a_name_of_its_own(plan: Plan) -> None:
    """One without a name prints its arguments, which may be secret."""
    run = plan()
    assert [meta.names for meta in run.state.op_meta.values() if meta.args] == []
    assert len(run.names) == len(set(run.names))


def test_no_secret_is_in_a_command(plan: Plan, tmp_path: Path) -> None:
    run = plan()
    run.execute()
    values = made_secrets(tmp_path)
    assert len(values) >= 6
    commands = "\n".join(run.sent.commands)
    for name, value in values.items():
        assert value not in commands, name
    # what is made of a secret: a verifier, a line of htpasswd
    assert "SCRAM-SHA-256$4096" not in commands
    assert "$2b$" not in commands
    # they do travel, on standard input
    assert any("SCRAM-SHA-256$4096" in text for text in run.sent.inputs)


def test_no_secret_is_printed(
    plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    run = plan()
    run.state.print_input = run.state.print_output = run.state.print_noop_info = True
    run.execute()
    printed = caplog.text + "".join(capfd.readouterr())
    assert "Create the Hub's role" in printed
    for name, value in made_secrets(tmp_path).items():
        assert value not in printed, name


def test_a_second_run_makes_no_new_secret(plan: Plan, tmp_path: Path) -> None:
    plan()
    values = made_secrets(tmp_path)
    plan()
    assert made_secrets(tmp_path) == values


def test_each_tier_has_its_own_host(plan: Plan) -> None:
    run = plan(hub=[HUB], db=["@fake/db.example.org"])
    db: Host = run.state.inventory.get_host("@fake/db.example.org")
    hub: Host = run.state.inventory.get_host(HUB)

    def names(host: Host) -> set[str]:
        return {next(iter(run.state.op_meta[op].names)) for op in run.state.ops[host]}

    assert "postgres | Install PostgreSQL" in names(db) - names(hub)
    assert "jupyterhub | Run JupyterHub" in names(hub) - names(db)
    assert "base | Install the base packages" in names(db) & names(hub)


UNFIT = [
    ({"os": "ubuntu", "version": "24.04"}, ["ubuntu 24.04", "Debian 12 and 13"]),
    ({"version": "11", "codename": "bullseye"}, ["debian 11", "Debian 12 and 13"]),
    ({"architecture": "riscv64"}, ["riscv64", "x86_64 and aarch64"]),
    ({"systemd": False}, ["without systemd"]),
    ({"free_disk": 900}, ["disk is full", "900 MiB", "4000"]),
    ({"free_disk": 100, "bare": False}, ["disk is full", "100 MiB", "200"]),
]


@pytest.mark.parametrize("deploy", ["all", "base", "postgres", "docker", "traefik", "jupyterhub"])
@pytest.mark.parametrize(("difference", "words"), UNFIT)
def test_an_unfit_host_is_refused_by_name(
    plan: Plan, deploy: str, difference: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(PyinfraError) as caught:
        plan(deploy, DEBIAN_13 | difference)
    for word in [HUB, *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_deployed_host_needs_no_room_for_a_first_deploy(plan: Plan) -> None:
    assert plan(machine=DEBIAN_13 | {"free_disk": 900, "bare": False}).names


@pytest.mark.parametrize(
    ("role", "port", "key"),
    [
        ("traefik", 80, "edge_http_port"),
        ("traefik", 443, "edge_https_port"),
        ("jupyterhub", 8081, "hub_api_port"),
    ],
)
def test_a_port_of_someone_else_is_named_with_its_setting(
    plan: Plan, role: str, port: int, key: str
) -> None:
    taken = DEBIAN_13 | {"listeners": {str(port): ["apache2", "nginx"]}}
    with pytest.raises(PyinfraError) as caught:
        plan(role, taken)
    assert str(caught.value).startswith(f"{HUB}: port {port} is taken by apache2, nginx")
    assert f"set `{key}` to a free port" in str(caught.value)
    assert plan(role, taken, {key: 8444}).names


def test_our_own_services_may_listen(plan: Plan) -> None:
    ours = {"80": ["traefik"], "443": ["traefik"], "8081": ["jupyterhub"]}
    assert plan(machine=DEBIAN_13 | {"bare": False, "listeners": ours}).names
