"""Debian packages: installed or not, without a package index update on every run."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.context import host


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
apt-get -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \\
    -o Dpkg::Options::=--force-confold --fix-broken --no-install-recommends -qy install "$@"
"""


@operation()
def installed(packages: Sequence[str]) -> Generator[StringCommand]:
    """Ensure that Debian packages are installed, without their recommended ones.

    A dpkg that was interrupted is put right first. Configuration files that the owner edited are
    kept (dpkg's --force-confold).
    """
    state = host.get_fact(Packages, list(packages))
    missing = [package for package in packages if package not in state.installed]
    if missing or state.interrupted:
        yield StringCommand(
            "sh", "-c", QuoteString(_INSTALL), "sh", *[QuoteString(p) for p in missing]
        )
