"""File systems: which one each place of the host is on, and what it has free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand

DOCKER, POSTGRES = "/var/lib/docker", "/var/lib/postgresql"


@dataclass(frozen=True)
class Disk:
    """A file system, mounted at `target`; `free` MiB are everybody's to use.

    `source` is what it is made of. What has several subvolumes of one has room in common. `inodes`
    are as many files as can still be made, where it has a number of them from its start.
    """

    source: str
    target: str
    free: int
    inodes: int | None = None

    @property
    def identity(self) -> str:
        return self.source if self.source.startswith("/") else self.target


def parse_disks(lines: Iterable[str]) -> dict[str, tuple[str, Disk]]:
    """By each path asked about, where that is in fact, and the file system there."""
    disks = {}
    for line in lines:
        asked, path, words = line.split("\t")
        free, inodes, all_inodes, source, target = words.split(None, 4)
        # df has "-" or 0 for all of them where none are counted
        counted = int(inodes) if all_inodes not in ("-", "0") else None
        disks[asked] = path, Disk(source, target, int(free), counted)
    return disks


# Where a package's own place is said to be another. What is not there yet will be where its nearest
# directory is.
_LOOK = rf"""
for asked; do
    path=
    case $asked in
        {DOCKER}) path=$(sed -n 's/.*"data-root"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p' \
            /etc/docker/daemon.json 2>/dev/null) ;;
        {POSTGRES}) path=$(sed -n "s/^[[:space:]]*data_directory[[:space:]=]*'\([^']*\)'.*/\1/p" \
            /etc/postgresql/*/main/postgresql.conf 2>/dev/null | tail -n 1) ;;
    esac
    path=${{path:-$asked}}
    there=$path
    until [ -e "$there" ]; do there=${{there%/*}}; there=${{there:-/}}; done
    printf '%s\t%s\t%s\n' "$asked" "$path" \
        "$(df --block-size=1M --output=avail,iavail,itotal,source,target "$there" | tail -n 1)"
done
"""


class Disks(FactBase[dict[str, tuple[str, Disk]]]):
    """The file system of each of some absolute paths (df(1)); Docker's and PostgreSQL's data are
    looked for where their owner has moved them.
    """

    @staticmethod
    def default() -> dict[str, tuple[str, Disk]]:
        return {}

    def command(self, paths: list[str]) -> StringCommand:
        return StringCommand("sh -c", QuoteString(_LOOK), "sh", *map(QuoteString, paths))

    def process(self, output: list[str]) -> dict[str, tuple[str, Disk]]:
        try:
            return parse_disks(output)
        except ValueError as error:
            raise FactProcessError(f"unreadable output of df: {error}") from error
