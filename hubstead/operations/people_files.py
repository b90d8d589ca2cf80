"""People's files: out of volumes of earlier versions, and in limits (programs/people_files.py)."""

from __future__ import annotations

import json
import stat
from collections.abc import Generator
from dataclasses import dataclass

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import host

from hubstead.programs import program

PROGRAM = "/usr/local/lib/hubstead/people-files"

# Names of people with a volume and no directory; `used` before those that a container still has.
_VOLUMES = """
docker volume ls --quiet 2>/dev/null | while read -r volume; do
    name=${volume#"$1"}
    [ "$name" != "$volume" ] && [ ! -e "$2/$name" ] || continue
    if [ -n "$(docker ps --all --quiet --filter="volume=$volume")" ]; then
        echo "used $name"
    else
        echo "free $name"
    fi
done
"""
# What a document names as `files`, where somebody's are there.
_ELSEWHERE = """
files=$(sed -n 's/^ *"files": "\\(.*\\)",$/\\1/p' "$1" 2>/dev/null)
[ -z "$files" ] || [ -z "$(ls "$files" 2>/dev/null)" ] || echo "$files"
"""


class Volumes(FactBase[dict[str, list[str]]]):
    """People whose files are still in a volume: `free`, and `used` by a container.

    + prefix: of the volumes' names; what comes after it is the person's, escaped.
    + files: the directory where those have one whose files were moved.
    """

    @staticmethod
    def default() -> dict[str, list[str]]:
        return {"free": [], "used": []}

    def command(self, prefix: str, files: str) -> StringCommand:
        return StringCommand(
            "sh -c", QuoteString(_VOLUMES), "sh", QuoteString(prefix), QuoteString(files)
        )

    def process(self, output: list[str]) -> dict[str, list[str]]:
        found = self.default()
        for line in output:
            state, _, name = line.partition(" ")
            found[state].append(name)
        return found


class Place(FactBase[str | None]):
    """Where people's files are by a document of an earlier run; None where nobody has any."""

    def command(self, places: str) -> StringCommand:
        return StringCommand("sh -c", QuoteString(_ELSEWHERE), "sh", QuoteString(places))

    def process(self, output: list[str]) -> str | None:
        return output[0] if output else None


# What the program of this version says, before it is there, of settings that are not there yet.
_SAYS = 'printf %s "$2" | python3 -I -c "$1" /dev/stdin "$3"'


def _ask(document: str, action: str) -> StringCommand:
    text = QuoteString(program("people_files.py"))
    return StringCommand(
        "sh -c", QuoteString(_SAYS), "sh", text, QuoteString(document), QuoteString(action)
    )


@dataclass(frozen=True)
class DiskState:
    """The file system that people's files are on, or will be.

    + target: where it is mounted.
    + source: its device.
    + fstype: such as ext4.
    + quotas: whether it counts by user what is written, and holds limits of that.
    """

    target: str
    source: str
    fstype: str
    quotas: bool


class Disk(FactBase[DiskState | None]):
    """The file system of people's files.

    + document: for the program, as JSON.
    """

    def command(self, document: str) -> StringCommand:
        return _ask(document, "disk")

    def process(self, output: list[str]) -> DiskState | None:
        try:
            return DiskState(**json.loads(output[0])) if output else None
        except (ValueError, TypeError) as error:
            raise FactProcessError(f"unreadable description of a disk: {error}") from error


class Unlimited(FactBase[list[str]]):
    """The uids that have something and other limits than the document's."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, document: str) -> StringCommand:
        return _ask(document, "unlimited")

    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def limited(document: str, places: str) -> Generator[StringCommand]:
    """Ensure that all who have files have the limits of the document.

    It counts at once, for servers that run, too. Who has more than that keeps it, and writes again
    when there is room.

    + document: for the program, as JSON.
    + places: the program's document, which says the same by then.
    """
    if host.get_fact(Unlimited, document):
        yield StringCommand(PROGRAM, QuoteString(places), "limit")


class Limited(FactBase[bool]):
    """Whether people may have limits of ours, in a directory of people's files."""

    def command(self, files: str) -> StringCommand:
        return StringCommand("test ! -e", QuoteString(f"{files}/.accounts/.limited"), "|| echo yes")

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def unlimited(files: str, places: str) -> Generator[StringCommand]:
    """Ensure that nobody has limits that earlier settings had. Those of somebody else stay.

    + files: the directory.
    + places: the program's document, which has none by then.
    """
    if host.get_fact(Limited, files):
        yield StringCommand(PROGRAM, QuoteString(places), "limit")


@operation()
def adopted(prefix: str, files: str, places: str) -> Generator[StringCommand]:
    """Ensure that the volumes that no container has are moved to `files`.

    One that cannot be moved is no error of the run: the person reads why, and the next start of
    their server tries it again.

    + prefix, files: as `Volumes` has them.
    + places: the program's document.
    """
    if names := host.get_fact(Volumes, prefix, files)["free"]:
        yield StringCommand(
            PROGRAM, QuoteString(places), "adopt", *map(QuoteString, names), "|| true"
        )


class Folders(FactBase[dict[str, str]]):
    """Owner, group and kind with mode of what is at some paths, as stat(1) has them in numbers."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, paths: list[str]) -> StringCommand:
        quoted = [QuoteString(path) for path in paths]
        return StringCommand("stat -L --printf '%u:%g:%f %n\\n' --", *quoted, "2>/dev/null; true")

    def process(self, output: list[str]) -> dict[str, str]:
        return {path: state for state, _, path in (line.partition(" ") for line in output)}


@operation()
def folders(paths: list[str], gid: int) -> Generator[StringCommand]:
    """Ensure that directories are there that root and a group may change, and others not read.

    What is in them stays as it is.

    + paths: in a directory of root's.
    """
    have = host.get_fact(Folders, paths) if paths else {}
    for path in paths:
        if have.get(path) != f"0:{gid}:{stat.S_IFDIR | 0o770:x}":
            yield StringCommand(f"install -d -o 0 -g {gid} -m 770 --", QuoteString(path))
