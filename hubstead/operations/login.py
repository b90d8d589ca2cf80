"""How the run reaches the host: what must not be cut off by what it does there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand


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


_PASSWORD_LOGINS = r"""
PATH=$PATH:/usr/sbin
rules=$(sshd -T 2>/dev/null)
says() { printf '%s\n' "$rules" | grep -qx "$1"; }
says 'passwordauthentication yes' || exit 0
getent shadow | awk -F: '$2 ~ /^[$]/ { print $1 }' | while read -r name; do
    home=$(getent passwd "$name" | cut -d: -f6) shell=$(getent passwd "$name" | cut -d: -f7)
    case $name:$shell in
        root:*) says 'permitrootlogin yes' || continue ;;
        *:*/nologin|*:*/false) continue ;;
    esac
    [ -s "$home/.ssh/authorized_keys" ] || echo "$name"
done
"""


class PasswordLogins(FactBase[list[str]]):
    """The accounts of the host that sshd lets in by a password, and has no keys of.

    Rule: shadow(5), authorized_keys in sshd(8).
    """

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self) -> StringCommand:
        return StringCommand("sh -c", QuoteString(_PASSWORD_LOGINS))

    def process(self, output: list[str]) -> list[str]:
        return output
