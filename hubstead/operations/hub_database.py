"""The Hub's database, as the Hub reaches it: whether it has tables, and of which schema."""

from __future__ import annotations

import re
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from pyinfra import logger
from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.context import ctx_state, host

from hubstead.operations.files import STATE
from hubstead.programs import program

#: The revisions of JupyterHub's schema (alembic) that the locked release knows, its own first
REVISIONS = tuple((Path(__file__).parents[2] / "locks/hub.revisions").read_text().split())
#: Where dumps of a database are that was carried over to another schema; root's alone
DUMPS = f"{STATE}/hub-database"
#: What else the Hub was before that schema; a run that was cut leaves it for the next one
_BEFORE = f"{DUMPS}/before-{REVISIONS[0]}.tar"

#: $1 is a file with the URL, which is in no list of processes so
_LOOK = """
import sys
from pathlib import Path
from sqlalchemy import create_engine, inspect, text
with create_engine(Path(sys.argv[1]).read_text().strip()).connect() as database:
    known = inspect(database).has_table("alembic_version")
    print("revision", *database.execute(text("SELECT version_num FROM alembic_version")).one()
          if known else [])
"""


class Revision(FactBase[str | None]):
    """The revision of the schema; "" without tables of JupyterHub's, None without an answer."""

    @staticmethod
    def default() -> None:
        return None

    def command(self, python: str, url_file: str) -> StringCommand:
        look = QuoteString(_LOOK)
        return StringCommand(
            QuoteString(python), "-c", look, QuoteString(url_file), "2>/dev/null || true"
        )

    def process(self, output: list[str]) -> str | None:
        word, _, revision = output[-1].partition(" ") if output else ("", "", "")
        return revision if word == "revision" else None


#: $1 is as above
_ASK = """
import sys
from pathlib import Path
from sqlalchemy import create_engine, text
with create_engine(Path(sys.argv[1]).read_text().strip()).connect() as database:
    print("server", database.execute(text("SHOW server_version_num")).scalar_one())
"""


class Versions(FactBase[tuple[int, int]]):
    """The major versions of the server that has the database, and of pg_dump; 0 for an unknown."""

    @staticmethod
    def default() -> tuple[int, int]:
        return 0, 0

    def command(self, python: str, url_file: str) -> StringCommand:
        ask = QuoteString(_ASK)
        return StringCommand(
            QuoteString(python), "-c", ask, QuoteString(url_file),
            "2>/dev/null; pg_dump --version 2>/dev/null; true",
        )  # fmt: skip

    def process(self, output: list[str]) -> tuple[int, int]:
        text = "\n".join(output)
        server = re.search(r"^server (\d+)\d{4}$", text, re.MULTILINE)
        client = re.search(r"^pg_dump .*?(\d+)", text, re.MULTILINE)
        return int(server[1]) if server else 0, int(client[1]) if client else 0


def _is_older(python: str, url_file: str) -> bool:
    """Whether the database has tables of another schema than the locked release's."""
    return host.get_fact(Revision, python, url_file) not in (None, "", REVISIONS[0])


# The first is what the Hub was, whatever runs were cut after it
_KEEP = """
set -eu
umask 077
[ ! -e "$1" ] || exit 0
mkdir -p "${1%/*}"
cd /
tar -cpf "$1.part" --ignore-failed-read opt/hubstead/hub/current etc/jupyterhub \\
    etc/systemd/system/jupyterhub.service $(ls var/lib/hubstead/written/*jupyterhub* 2>/dev/null)
mv "$1.part" "$1"
"""


@operation()
def kept(python: str, url_file: str) -> Generator[StringCommand]:
    """Ensure that the Hub's files can be put back where `carried_over` fails.

    The parameters are those of `filled`, before anything is changed.
    """
    if _is_older(python, url_file):
        yield StringCommand("sh -c", QuoteString(_KEEP), "sh", _BEFORE)


@operation()
def carried_over(python: str, url_file: str) -> Generator[StringCommand]:
    """Ensure that the database has the schema of the Hub's release, and the Hub runs with it.

    A Hub does not start on another one. It is stopped, and a dump of the database made, which
    stays; where the Hub does not answer with the new schema, all is put back, and the run fails.
    """
    if not _is_older(python, url_file):
        return
    dump = f"{DUMPS}/{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.sql"
    if ctx_state.get().is_executing:
        logger.warning(
            f"{host.name}: the Hub's database gets the schema of a newer JupyterHub. As it was, it "
            f"stays in {dump}."
        )
    yield StringCommand(
        "python3 -I -S -c", QuoteString(program("hub_schema.py")), QuoteString(url_file),
        dump, _BEFORE,
    )  # fmt: skip


@operation()
def filled(python: str, url_file: str, unit: str) -> Generator[StringCommand]:
    """Ensure that the Hub has made its tables: it does when it starts, and not later.

    They are not there where the database was dropped, or its cluster, and made anew.

    + python: that of the Hub's release.
    + url_file: holds the URL of the database (SQLAlchemy, "Database URLs").
    """
    if host.get_fact(Revision, python, url_file) == "":
        yield StringCommand("systemctl", "restart", QuoteString(unit))
