"""How the run reaches the host: what must not be cut off by what it does there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase, FactProcessError


@dataclass(frozen=True)
class LoginState:
    """Who logs in, and whether that user has SSH keys of its own."""

    user: str = ""
    has_keys: bool = False
    over_ssh: bool = False


def parse_login(lines: Iterable[str]) -> LoginState:
    """The state from the lines that the command of `Login` prints."""
    values = dict(line.split("=", 1) for line in lines)
    return LoginState(values["user"], values["keys"] == "yes", bool(values["connection"]))


class Login(FactBase[LoginState]):
    """The user whom pyinfra logs in as; read it with `_sudo=False`."""

    def command(self) -> str:
        return (
            'echo "user=$(id -un)"; echo "connection=${SSH_CONNECTION-}";'
            " if [ -s ~/.ssh/authorized_keys ]; then echo keys=yes; else echo keys=no; fi"
        )

    def process(self, output: list[str]) -> LoginState:
        try:
            return parse_login(output)
        except (ValueError, KeyError):
            raise FactProcessError(
                f"the login shell printed {output[0]!r}: its start-up files (~/.bashrc) must print "
                "nothing when it runs a command"
            ) from None
