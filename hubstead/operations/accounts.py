"""System users: accounts that run services and that nobody logs in with."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import host


@dataclass(frozen=True)
class AccountState:
    """A user's home, shell and groups."""

    home: str
    shell: str
    groups: frozenset[str]


def parse_account(lines: Iterable[str]) -> AccountState | None:
    """The state from the lines that the command of `Account` prints; None for no such user."""
    passwd, *groups = lines
    fields = passwd.split(":")
    return AccountState(fields[5], fields[6], frozenset(" ".join(groups).split()))


class Account(FactBase[AccountState | None]):
    """A user of the host. Rule: passwd(5), id(1)."""

    def command(self, user: str) -> StringCommand:
        name = QuoteString(user)
        return StringCommand("getent passwd", name, "&& id -Gn", name, "|| true")

    def process(self, output: list[str]) -> AccountState | None:
        try:
            return parse_account(output)
        except (ValueError, IndexError) as error:
            raise FactProcessError(f"unreadable output of getent: {error}") from error


# By number as well: a directory service need not list all that it knows.
_HOLDERS = """
{ getent passwd; getent passwd "$1" "$3"; } | awk -F: -v first="$1" -v last="$2" -v gid="$3" '
    ($3 >= first && $3 <= last) || $3 == gid || $4 == gid {
        print "the account " $1 " (uid " $3 ", gid " $4 ")" }' | sort -u
{ getent group; getent group "$3"; } | awk -F: -v gid="$3" '
    $3 == gid { print "the group " $1 " (gid " $3 ")" }' | sort -u
"""


class Holders(FactBase[list[str]]):
    """Accounts with a uid from `first` to `last` or `gid`, and groups with that gid, in words."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, first: int, last: int, gid: int) -> StringCommand:
        numbers = str(first), str(last), str(gid)
        return StringCommand("sh -c", QuoteString(_HOLDERS), "sh", *numbers)

    def process(self, output: list[str]) -> list[str]:
        return output


class Group(FactBase[bool]):
    """Whether a group exists. Rule: group(5)."""

    def command(self, group: str) -> StringCommand:
        return StringCommand("getent group", QuoteString(group), "|| true")

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def system_group(group: str) -> Generator[StringCommand]:
    """Ensure a system group."""
    if not host.get_fact(Group, group):
        yield StringCommand("groupadd --system", QuoteString(group))


@operation()
def absent(user: str) -> Generator[StringCommand]:
    """Ensure that there is no such user, nor the group of its name; its files stay."""
    if host.get_fact(Account, user) is not None:
        yield StringCommand("userdel", QuoteString(user))


@operation()
def group_absent(group: str) -> Generator[StringCommand]:
    """Ensure that there is no such group; files of it stay."""
    if host.get_fact(Group, group):
        yield StringCommand("groupdel", QuoteString(group))


@operation()
def member(user: str, group: str) -> Generator[StringCommand]:
    """Ensure that a user is in a group. It may be that of a package that is not there yet."""
    state = host.get_fact(Account, user)
    if state is None or group not in state.groups:
        yield StringCommand("usermod --append --groups", QuoteString(group), QuoteString(user))


@operation()
def outside(user: str, group: str, keeper: str) -> Generator[StringCommand]:
    """Ensure that a user is not in a group.

    + keeper: an input of the unit that runs as the user, which counts as changed then: processes
      keep the groups that they began with (credentials(7)).
    """
    state = host.get_fact(Account, user)
    if state is not None and group in state.groups:
        yield StringCommand(
            "touch", QuoteString(keeper), "&& gpasswd --delete", QuoteString(user),
            QuoteString(group), ">/dev/null",
        )  # fmt: skip


_NOLOGIN = "/usr/sbin/nologin"


@operation()
def system_user(user: str, home: str, groups: Sequence[str] = ()) -> Generator[StringCommand]:
    """Ensure a system user without a login, with a group of its own name.

    + home: its home directory, which is not created here.
    + groups: further groups that it must be in.
    """
    state = host.get_fact(Account, user)
    name = QuoteString(user)
    if state is None:
        yield StringCommand(
            "useradd --system --user-group --no-create-home",
            "--home-dir", QuoteString(home), "--shell", _NOLOGIN, name,
        )  # fmt: skip
    elif (state.home, state.shell) != (home, _NOLOGIN):
        yield StringCommand("usermod --home", QuoteString(home), "--shell", _NOLOGIN, name)
    for group in groups:
        if state is None or group not in state.groups:
            yield StringCommand("usermod --append --groups", QuoteString(group), name)
