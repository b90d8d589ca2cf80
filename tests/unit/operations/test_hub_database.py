"""The Hub's database: whether its tables are there, and what becomes of one without."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import jupyterhub
import pytest
from alembic.script import ScriptDirectory
from jupyterhub.dbutil import ALEMBIC_DIR

from hubstead.operations.hub_database import REVISIONS, Revision, Versions, filled, kept
from hubstead.operations.releases import lock
from tests.unit.operations.support import commands

HUB = {"python": "/python", "url_file": "/url"}


def look(url_file: Path, python: str = sys.executable) -> str | None:
    """The fact, of this machine."""
    fact = Revision()
    command = fact.command(python, str(url_file)).get_raw_value()
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert "secret" not in command and not done.stderr
    return fact.process(done.stdout.splitlines())


def test_it_has_a_revision_once_the_hub_has_made_its_tables(tmp_path: Path) -> None:
    file, url_file = tmp_path / "secret.sqlite", tmp_path / "url"
    assert look(url_file) is None
    url_file.write_text(f"sqlite:///{file}\n")
    assert look(url_file, "/opt/none/python") is None
    assert look(url_file) == ""
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE alembic_version AS SELECT 'f460b0348206' AS version_num")
    assert look(url_file) == "f460b0348206"
    # one that does not answer is another matter
    url_file.write_text(f"postgresql+psycopg://u:secret@/hub?host={tmp_path}")
    assert look(url_file) is None


@pytest.mark.parametrize(
    ("lines", "versions"),
    [
        (["server 170006", "pg_dump (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)"], (17, 15)),
        (["server 90624", "pg_dump (PostgreSQL) 17.6"], (9, 17)),
        (["pg_dump (PostgreSQL) 18beta2"], (0, 18)),
        ([], (0, 0)),
    ],
)
def test_who_dumps_and_what_is_dumped(lines: list[str], versions: tuple[int, int]) -> None:
    assert Versions().process(lines) == versions


@pytest.mark.parametrize("revision", [None, "", REVISIONS[0]])
def test_the_hub_makes_them_when_it_starts(revision: str | None) -> None:
    sent = commands(filled, {Revision: revision}, **HUB, unit="jupyterhub.service")
    assert [each.line for each in sent] == ["systemctl restart jupyterhub.service"] * (
        revision == ""
    )


@pytest.mark.parametrize("revision", [None, "", *REVISIONS[:2]])
def test_only_an_older_schema_is_carried_over(revision: str | None) -> None:
    sent = commands(kept, {Revision: revision}, **HUB)
    assert len(sent) == (revision == REVISIONS[1])


def test_the_known_schemas_are_those_of_the_locked_release() -> None:
    found = ScriptDirectory(ALEMBIC_DIR).walk_revisions()
    assert tuple(each.revision for each in found) == REVISIONS
    (pinned,) = re.findall(r"^jupyterhub==(\S+)", lock("hub"), re.MULTILINE)
    assert jupyterhub.__version__ == pinned
