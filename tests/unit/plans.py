"""Plans of whole roles for hosts that only pretend (pyinfra's @fake)."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyinfra
import pytest
from pyinfra.api import Config, State
from pyinfra.api.connect import connect_all
from pyinfra.api.facts import _MISSING_COMMAND_MARKER
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra_cli.util import load_deploy_file

from hubstead import wheels
from hubstead.operations import files, outside
from hubstead.operations.releases import Wheel
from hubstead.settings import apart

PROJECT = Path(__file__).parents[2]
HUB = "@fake/hub.example.org"
DEBIAN_13: dict[str, Any] = {
    "os": "debian", "version": "13", "codename": "trixie", "architecture": "x86_64",
    "cores": 2, "memory": 24105, "systemd": True, "bare": True,
    "listeners": {"22": [["sshd", "/system.slice/ssh.service"]]}, "init": "/init.scope",
}  # fmt: skip
#: What has to be decided, and makes no difference to what is planned
TRUST = {"hub_people_trust_each_other": True}
DEBIAN_12 = DEBIAN_13 | {"version": "12", "codename": "bookworm"}

#: As `ip -json -details address` prints it, shortened to what is read
ETH0: dict[str, Any] = {
    "ifname": "eth0",
    "addr_info": [
        {"local": "192.0.2.4", "scope": "global"},
        {"local": "2001:db8::4", "scope": "global"},
    ],
}


def disk(
    path: str, free: int, source: str = "/dev/vda1", target: str = "/", inodes: str = "0 0"
) -> str:
    """What the fact Disks prints of a path."""
    return f"{path}\t{path}\t{free} {inodes} {source} {target}"


def scripted(machine: dict[str, Any]) -> dict[str, str]:
    """What the facts of a bare host print."""
    return {
        "python3 -c": json.dumps(machine),
        "df --block": disk("/", 74737),
        "connection=$": "user=deploy\nconnection=198.18.0.1 51022 198.18.0.10 22\nkeys=yes",
        "${SSH_CONNECTION-}": "198.18.0.1 51022 198.18.0.10 22",
        "ip -json": json.dumps([ETH0]),
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
            if any(
                op in ops and ops[op].operation_meta.will_change for ops in self.state.ops.values()
            )
        ]

    def execute(self) -> None:
        self.state.set_stage(StateStage.Execute)
        run_ops(self.state)

    @property
    def files(self) -> dict[str, str]:
        """What an executed run wrote, by path (hubstead.operations.files.write)."""
        written = {}
        for command, text in zip(self.sent.commands, self.sent.inputs, strict=True):
            words = shlex.split(command)
            if files.WRITE in words:
                path = words[words.index(files.WRITE) + 1]
                written[path] = base64.b64decode(text).decode()
        return written

    def text(self) -> str:
        """Execute the run, and join all that it writes to files."""
        self.sent.commands.clear()
        self.sent.inputs.clear()
        self.execute()
        return "\n".join(self.files.values())


Plan = Callable[..., Run]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    """Plan a deploy for a host whose facts say `machine`, and what `responses` has by command."""
    sent = Sent()
    original = FakeConnector.run_shell_command

    def record(self: FakeConnector, command: Any, **arguments: Any) -> Any:
        sent.inputs.append(str(arguments.get("_stdin") or ""))
        result = original(self, command, **arguments)
        sent.commands.append(command if isinstance(command, str) else command.get_raw_value())
        return result

    wheel = tmp_path / "hubstead_ours-0-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    monkeypatch.setattr(wheels, "built", lambda sources: Wheel(wheel, wheels.identity(sources)))
    monkeypatch.setattr(FakeConnector, "run_shell_command", record)
    # nobody can ask for the pages of a host that pretends
    monkeypatch.setattr(outside, "reason", lambda page, port, authority: None)
    # operations are told apart by the lines of the deploy, as in a real run
    monkeypatch.setattr(pyinfra, "is_cli", True)
    monkeypatch.chdir(tmp_path)

    def make(
        deploy: str = "all",
        machine: dict[str, Any] = DEBIAN_13,
        data: dict[str, Any] | None = None,
        responses: dict[str, str] | None = None,
        **groups: list[str],
    ) -> Run:
        hosts = groups or {"hub": [HUB]}
        # the first that matches wins, and of one key the last
        answers = (responses or {}) | scripted(machine) | (responses or {})
        decided = {} if set(apart.KEYS) & set(data or {}) else TRUST
        everything = decided | {"fake_delay": 0, "fake_delay_jitter": 0, "fake_responses": answers}
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
