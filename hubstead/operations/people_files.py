"""People's files: volumes of earlier versions become directories (programs/people_files.py)."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.context import host

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
