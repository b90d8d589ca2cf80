"""Debian packages: installed or not, without a package index update on every run."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.context import host

#: What was newly installed for a role: one file a role, one package a line
NOTES = "/var/lib/hubstead/packages"


@dataclass(frozen=True)
class PackagesState:
    """The fully installed ones of the packages asked about; whether dpkg was cut in its work."""

    installed: frozenset[str] = frozenset()
    interrupted: bool = False


def parse_packages(lines: Iterable[str]) -> PackagesState:
    """The state from the lines that the command of `Packages` prints."""
    installed, interrupted = set(), False
    for line in lines:
        status, _, name = line.partition("|")
        if status == "audit":
            interrupted = True
        elif status.strip() in ("ii", "hi"):
            installed.add(name)
    return PackagesState(frozenset(installed), interrupted)


class Packages(FactBase[PackagesState]):
    """Which of some packages are installed. Rule: dpkg-query(1), db:Status-Abbrev."""

    @staticmethod
    def default() -> PackagesState:
        return PackagesState()

    def command(self, packages: list[str]) -> StringCommand:
        return StringCommand(
            "dpkg-query -W -f '${db:Status-Abbrev}|${Package}\\n' --",
            *[QuoteString(package) for package in packages],
            "2>/dev/null; [ -z \"$(dpkg --audit)$(ls /var/lib/dpkg/updates)\" ] || echo 'audit|'",
        )

    def process(self, output: list[str]) -> PackagesState:
        return parse_packages(output)


# apt-get waits for its locks by itself, dpkg does not: an apt-get that an earlier, killed run left
# behind may still be at work. The index is fetched again when it is a day old or older than the
# sources.
_INSTALL = """
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
owner=$1
shift
tries=0
until dpkg --configure -a --force-confold >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ]; then dpkg --configure -a --force-confold; exit 1; fi
    sleep 2
done
stamp=/var/lib/apt/periodic/update-success-stamp
if [ -z "$(find "$stamp" -mtime -1 2>/dev/null)" ] ||
    [ -n "$(find /etc/apt/sources.list /etc/apt/sources.list.d -newer "$stamp" 2>/dev/null)" ]; then
    apt-get -o DPkg::Lock::Timeout=600 -o APT::Update::Error-Mode=any -q update
    mkdir -p "${stamp%/*}"
    touch "$stamp"
fi
if [ -n "$owner" ]; then
    mkdir -p "${owner%/*}"
    apt-get -s --no-install-recommends install "$@" |
        sed -n 's/^Inst \\([^ ]*\\).*/\\1/p' >>"$owner"
fi
apt-get -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \\
    -o Dpkg::Options::=--force-confold --fix-broken --no-install-recommends -qy install "$@"
"""


@operation()
def installed(packages: Sequence[str], owner: str = "") -> Generator[StringCommand]:
    """Ensure that Debian packages are installed, without their recommended ones.

    A dpkg that was interrupted is put right first. Configuration files that the owner edited are
    kept (dpkg's --force-confold).

    + owner: the role that may go again; what is newly installed for it is noted down, for `purged`.
    """
    state = host.get_fact(Packages, list(packages))
    missing = [package for package in packages if package not in state.installed]
    if missing or state.interrupted:
        yield StringCommand(
            "sh", "-c", QuoteString(_INSTALL), "sh",
            QuoteString(f"{NOTES}/{owner}" if owner else ""), *[QuoteString(p) for p in missing],
        )  # fmt: skip


class Note(FactBase[bool]):
    """Whether packages were noted down for a role."""

    def command(self, owner: str) -> StringCommand:
        return StringCommand("ls", QuoteString(f"{NOTES}/{owner}"), "2>/dev/null || true")

    def process(self, output: list[str]) -> bool:
        return bool(output)


# A package stays when its removal would take one along that was not noted down.
_PURGE = """
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
dpkg --configure -a --force-confold >/dev/null
ours=$(dpkg-query -W -f '${Package}\\n' $(sort -u "$1") 2>/dev/null || true)
while :; do
    kept=
    for package in $ours; do
        for gone in $(apt-get -s purge "$package" | sed -n 's/^Purg \\([^ ]*\\).*/\\1/p'); do
            if ! printf '%s\\n' $ours | grep -qx "$gone"; then kept="$kept $package"; fi
        done
    done
    [ -n "$kept" ] || break
    ours=$(printf '%s\\n' $ours | grep -vxF "$(printf '%s\\n' $kept)" || true)
done
if [ -n "$ours" ]; then
    apt-get -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -qy purge $ours
fi
rm "$1"
rmdir --ignore-fail-on-non-empty "${1%/*}"
"""


@operation()
def purged(owner: str) -> Generator[StringCommand]:
    """Ensure that the packages which were installed for a role are gone, with their configuration.

    One that something else on the host needs by now stays.
    """
    if host.get_fact(Note, owner):
        yield StringCommand("sh", "-c", QuoteString(_PURGE), "sh", QuoteString(f"{NOTES}/{owner}"))
