"""Operations without a host: facts are given, and the commands come back."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import FactBase, FileUploadCommand, FunctionCommand, StringCommand
from pyinfra.api.command import PyinfraCommand
from pyinfra.context import ctx_host

#: The answers, by the class of the fact
Facts = Mapping[Any, Any]
NAME = "hub.example.org"


@dataclass(frozen=True)
class Command:
    """What reaches the host: a line for its shell, standard input, environment."""

    line: str
    stdin: str | None = None
    env: dict[str, str] = field(default_factory=dict)

    def run(self) -> str:
        """Run it on this machine; returns the output. Raises CalledProcessError."""
        return subprocess.run(
            ["sh", "-c", self.line],
            input=self.stdin or "",
            capture_output=True,
            text=True,
            check=True,
        ).stdout


class ScriptedHost:
    """A host whose facts are known beforehand."""

    name = NAME

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def get_fact(self, fact: type[FactBase[Any]], *arguments: Any, _stdin: str = "") -> Any:
        fact().command(*arguments)  # as pyinfra does: wrong arguments are an error
        return self.facts[fact]


def _command(command: PyinfraCommand) -> Command:
    if isinstance(command, FileUploadCommand):
        return Command(f"UPLOAD {command.src} {command.dest}")
    if isinstance(command, FunctionCommand):
        return Command(f"CALL {command.function.__name__}")
    assert isinstance(command, StringCommand)
    arguments = dict[str, Any](command.connector_arguments)
    return Command(command.get_raw_value(), arguments.get("_stdin"), arguments.get("_env") or {})


def commands(operation: Any, facts: Facts, **arguments: Any) -> list[Command]:
    """The commands of an operation on a host with these facts."""
    ctx_host.set(ScriptedHost(facts))
    try:
        return [_command(command) for command in operation._inner(**arguments)]
    finally:
        ctx_host.reset()


def lines(operation: Any, facts: Facts, **arguments: Any) -> list[str]:
    """As `commands`, the lines alone."""
    return [command.line for command in commands(operation, facts, **arguments)]


def ask(fact: FactBase[Any], *arguments: Any) -> Any:
    """What a fact says of this machine."""
    command = StringCommand(fact.command(*arguments)).get_raw_value()
    output = Command(command).run().splitlines()
    return fact.process(output) if output else fact.default()
