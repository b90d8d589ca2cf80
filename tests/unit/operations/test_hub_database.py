"""The Hub's database: whether its tables are there, and what becomes of one without."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hubstead.operations.hub_database import Empty, filled
from tests.unit.operations.support import commands


def look(url_file: Path, python: str = sys.executable) -> bool:
    """The fact, of this machine."""
    fact = Empty()
    command = fact.command(python, str(url_file)).get_raw_value()
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert "secret" not in command and not done.stderr
    return fact.process(done.stdout.splitlines())


def test_it_is_empty_until_the_hub_has_made_its_tables(tmp_path: Path) -> None:
    file, url_file = tmp_path / "secret.sqlite", tmp_path / "url"
    assert not look(url_file)
    url_file.write_text(f"sqlite:///{file}\n")
    assert not look(url_file, "/opt/none/python")
    assert look(url_file)
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE alembic_version (version_num text)")
    assert not look(url_file)
    # one that does not answer is another matter
    url_file.write_text(f"postgresql+psycopg://u:secret@/hub?host={tmp_path}")
    assert not look(url_file)


@pytest.mark.parametrize("empty", [False, True])
def test_the_hub_makes_them_when_it_starts(empty: bool) -> None:
    sent = commands(
        filled, {Empty: empty}, python="/python", url_file="/url", unit="jupyterhub.service"
    )
    assert [each.line for each in sent] == ["systemctl restart jupyterhub.service"] * empty
