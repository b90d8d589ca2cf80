"""The Hub's database, as the Hub reaches it."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.context import host

#: $1 is a file with the URL, which is in no list of processes so
_LOOK = """
import sys
from pathlib import Path
from sqlalchemy import create_engine, inspect
engine = create_engine(Path(sys.argv[1]).read_text().strip())
print("" if inspect(engine).has_table("alembic_version") else "empty")
"""


class Empty(FactBase[bool]):
    """Whether the database answers, and has no tables of JupyterHub's."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, python: str, url_file: str) -> StringCommand:
        look = QuoteString(_LOOK)
        return StringCommand(
            QuoteString(python), "-c", look, QuoteString(url_file), "2>/dev/null || true"
        )

    def process(self, output: list[str]) -> bool:
        return output == ["empty"]


@operation()
def filled(python: str, url_file: str, unit: str) -> Generator[StringCommand]:
    """Ensure that the Hub has made its tables: it does when it starts, and not later.

    They are not there where the database was dropped, or its cluster, and made anew.

    + python: that of the Hub's release.
    + url_file: holds the URL of the database (SQLAlchemy, "Database URLs").
    """
    if host.get_fact(Empty, python, url_file):
        yield StringCommand("systemctl", "restart", QuoteString(unit))
