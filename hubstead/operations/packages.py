"""Debian packages: installed or not, without a package index update on every run."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

from pyinfra import logger
from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.context import host

#: What was newly installed for a role: one file a role, one package a line
NOTES = "/var/lib/hubstead/packages"
#: What dpkg said of packages that could not be configured
LEFT = "/var/lib/hubstead/unconfigured"


@dataclass(frozen=True)
class PackagesState:
    """The fully installed ones of the packages asked about, and what dpkg did not finish.

    + interrupted: whether dpkg was cut in its work.
    + unconfigured: packages of the owner's that could not be configured when that was last tried.
    + locked: whether somebody else's apt or dpkg is at work.
    """

    installed: frozenset[str] = frozenset()
    interrupted: bool = False
    unconfigured: tuple[str, ...] = ()
    locked: bool = False


def parse_packages(lines: Iterable[str]) -> PackagesState:
    """The state from the lines that the command of `Packages` prints."""
    installed, unconfigured, marks = set(), [], set()
    for line in lines:
        status, _, name = line.partition("|")
        if status == "left":
            unconfigured.append(name)
        elif status.strip() in ("ii", "hi"):
            installed.add(name)
        elif not name:
            marks.add(status)
    return PackagesState(
        frozenset(installed), "audit" in marks, tuple(unconfigured), "locked" in marks
    )


# What could not be configured, as dpkg described it then. /proc/locks has the inode of what is
# locked (proc(5)).
_STATE = f"""
dpkg-query -W -f '${{db:Status-Abbrev}}|${{Package}}\\n' -- "$@" 2>/dev/null
audit=$(dpkg --audit)
if [ -n "$audit" ] && [ -z "$(ls /var/lib/dpkg/updates)" ] &&
    [ "$audit" = "$(cat {LEFT} 2>/dev/null)" ]; then
    dpkg-query -W -f 'left|${{Package}} ${{db:Status-Abbrev}}\\n' | sed -n 's/ .[HUFWt].*//p'
elif [ -n "$audit$(ls /var/lib/dpkg/updates)" ]; then
    echo 'audit|'
fi
lock=$(stat -c %i /var/lib/dpkg/lock-frontend 2>/dev/null) &&
    grep -q ":$lock " /proc/locks && echo 'locked|'
true
"""


class Packages(FactBase[PackagesState]):
    """Which of some packages are installed. Rule: dpkg-query(1), db:Status-Abbrev."""

    @staticmethod
    def default() -> PackagesState:
        return PackagesState()

    def command(self, packages: list[str]) -> StringCommand:
        return StringCommand(
            "sh", "-c", QuoteString(_STATE), "sh", *[QuoteString(package) for package in packages]
        )

    def process(self, output: list[str]) -> PackagesState:
        return parse_packages(output)


# apt-get waits for its locks by itself, dpkg does not: an apt-get that an earlier, killed run left
# behind may still be at work. A package of the owner's that cannot be configured is left, and noted
# down, where ours can. One that dpkg was unpacking when the power went is installed anew. The
# index is fetched again when it is a day old or older than the sources. A mirror that cannot be
# reached, or is too busy, is asked again for a minute.
_INSTALL = f"""
set -eu
umask 022
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
owner=$1 wanted=$2
shift 2
again() {{
    for pause in 5 10 20 30 last; do
        ! said=$("$@" 2>&1) || return 0
        [ $pause != last ] && printf '%s\\n' "$said" | grep -qiE \\
            'connect|resolv|timed out|temporary failure|no route| (429|50[0-4]) ' || break
        sleep $pause
    done
    printf '%s\\n' "$said"
    return 1
}}
tries=0
until said=$(dpkg --configure -a --force-confold 2>&1 >/dev/null); do
    case $said in *' lock was locked by '*) ;; *) break ;; esac
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ]; then echo "$said" >&2; exit 1; fi
    sleep 2
done
stamp=/var/lib/apt/periodic/update-success-stamp
if [ -z "$(find "$stamp" -mtime -1 2>/dev/null)" ] ||
    [ -n "$(find /etc/apt/sources.list /etc/apt/sources.list.d -newer "$stamp" 2>/dev/null)" ]; then
    again apt-get -o DPkg::Lock::Timeout=600 -o APT::Update::Error-Mode=any -q update
    mkdir -p "${{stamp%/*}}"
    touch "$stamp"
fi
if [ -n "$owner" ]; then
    mkdir -p "${{owner%/*}}"
    apt-get -s --no-install-recommends install "$@" |
        sed -n 's/^Inst \\([^ ]*\\).*/\\1/p' >>"$owner"
fi
install="apt-get -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef
    -o Dpkg::Options::=--force-confold --fix-broken --no-install-recommends -qy install"
broken=$(dpkg-query -W -f '${{db:Status-Abbrev}}|${{binary:Package}}\n' | sed -n 's/^..R|//p')
[ -z "$broken" ] || again $install --reinstall $broken || true
again $install --download-only "$@"
status=0
$install "$@" || status=$?
for package in $wanted; do
    dpkg-query -W -f '${{db:Status-Abbrev}}' "$package" 2>/dev/null | grep -q '^[ih]i' ||
        exit $((status ? status : 1))
done
audit=$(dpkg --audit)
rm -f {LEFT}
if [ -n "$audit" ]; then
    mkdir -p {LEFT.rpartition("/")[0]}
    echo "$audit" >{LEFT}
fi
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
        if state.locked:
            logger.info(
                f"{host.name}: another apt or dpkg is at work; waiting for up to 10 minutes"
            )
        yield StringCommand(
            "sh", "-c", QuoteString(_INSTALL), "sh",
            QuoteString(f"{NOTES}/{owner}" if owner else ""), QuoteString(" ".join(packages)),
            *[QuoteString(p) for p in missing],
        )  # fmt: skip
    if state.unconfigured:
        logger.warning(
            f"{host.name}: {', '.join(state.unconfigured)} cannot be configured, and Hubstead does "
            "not need it: left as it is (dpkg --configure -a says why)"
        )


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
# notes of what we wrote in files of theirs (hubstead.operations.files)
for note in /var/lib/hubstead/written/*; do
    file=$(printf '%s' "${note##*/}" | sed 's,%2F,/,g; s,%25,%,g')
    [ -e "$file" ] || [ -L "$file" ] || rm -f -- "$note"
done
"""


@operation()
def purged(owner: str) -> Generator[StringCommand]:
    """Ensure that the packages which were installed for a role are gone, with their configuration.

    One that something else on the host needs by now stays.
    """
    if host.get_fact(Note, owner):
        yield StringCommand("sh", "-c", QuoteString(_PURGE), "sh", QuoteString(f"{NOTES}/{owner}"))
