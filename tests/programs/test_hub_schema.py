"""hub_schema with a real PostgreSQL and JupyterHub's own migrations; systemd is played."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString
from urllib.parse import quote

import alembic.command
import pytest
from alembic.config import Config
from jupyterhub.dbutil import write_alembic_ini
from jupyterhub.orm import Base
from sqlalchemy import create_engine

from hubstead.operations.hub_database import REVISIONS, Versions
from programs import hub_schema
from programs.hub_schema import client
from tests.kit.userdb import OWNER_PASSWORD, Cluster, fresh_database, throwaway_cluster


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        (
            "postgresql+psycopg://jupyterhub:p%40ss@/jupyterhub?host=/run/postgresql",
            "postgresql://jupyterhub@/jupyterhub?host=%2Frun%2Fpostgresql",
        ),
        (
            "postgresql+psycopg://jupyterhub:p%40ss@[2001:db8::5]/jupyterhub?sslmode=verify-full"
            "&options=-c+statement_timeout%3D60s&sslrootcert=%2Fetc%2Fa+b.pem",
            "postgresql://jupyterhub@[2001:db8::5]/jupyterhub?sslmode=verify-full"
            "&sslrootcert=%2Fetc%2Fa%20b.pem",
        ),
    ],
)
def test_the_password_is_in_the_environment_alone(url: str, plain: str) -> None:
    where, secret = client(url)
    assert (where, secret["PGPASSWORD"]) == (plain, "p@ss")


#: Notes what it is asked, and cannot start what is broken
_SYSTEMCTL = """#!/bin/sh
echo "$1" >>"${0%/*}/asked"
[ "$1" != start ] || ! mv "${0%/*}/broken" "${0%/*}/mended" 2>/dev/null
"""
SCHEMA = "4621fec11365"


class Hub:
    """The database of a JupyterHub 5.5 in a PostgreSQL, and its file beside it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        fresh_database(cluster)
        self.cluster, self.directory = cluster, directory
        self.dump, self.archive = directory / "dumps/1.sql", directory / "before.tar"
        self.url_file, self.settings = directory / "url", directory / "settings"
        login = f"userdb_owner:{OWNER_PASSWORD}"
        url = f"postgresql+psycopg://{login}@/userdb?host={quote(str(cluster.directory), safe='')}"
        self.url_file.write_text(f"{url}\n")
        # as JupyterHub makes it, taken back to what its former version had
        engine = create_engine(url)
        Base.metadata.create_all(engine)
        engine.dispose()
        write_alembic_ini(str(directory / "alembic.ini"), url)
        config = Config(str(directory / "alembic.ini"))
        alembic.command.stamp(config, "head")
        alembic.command.downgrade(config, SCHEMA)
        self.sql("INSERT INTO users (name, admin, cookie_id) VALUES ('ada', true, 'x')")
        self.settings.write_text("former")
        subprocess.run(
            ["tar", "-C", "/", "-cf", self.archive, str(self.settings).lstrip("/")], check=True
        )
        self.settings.write_text("later")

    def sql(self, query: LiteralString) -> None:
        with self.cluster.superuser() as connection:
            connection.execute("SET ROLE userdb_owner")
            connection.execute(query)

    def state(self) -> str:
        """All that is in the database."""
        where, secret = client(self.url_file.read_text().strip())
        dump = [self.cluster.binaries / "pg_dump", where]
        text = subprocess.run(
            dump, env={**os.environ, **secret}, capture_output=True, text=True, check=True
        ).stdout
        # which has a new key in each
        return re.sub(r"(?m)^\\(un)?restrict .*$", "", text)

    def carry_over(self) -> str | None:
        return hub_schema.main(str(self.url_file), self.dump, self.archive)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with throwaway_cluster() as cluster:
        yield cluster


@pytest.fixture
def hub(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for name, text in {"systemctl": _SYSTEMCTL, "journalctl": "#!/bin/sh\necho boom\n"}.items():
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{stubs}:{cluster.binaries}:{os.environ['PATH']}")
    monkeypatch.setattr(hub_schema, "RELEASE", str(Path(sys.executable).parent))
    mask = os.umask(0o022)  # the program's is another
    yield Hub(cluster, tmp_path)
    os.umask(mask)


def test_a_database_is_carried_over_and_its_dump_stays(hub: Hub) -> None:
    assert SCHEMA in hub.state()
    assert hub.carry_over() is None
    assert REVISIONS[0] in hub.state() and "\tada\t" in hub.state()
    assert (hub.directory / "bin/asked").read_text().split() == ["stop", "daemon-reload", "start"]
    assert stat.S_IMODE(hub.dump.stat().st_mode) == 0o600
    assert SCHEMA in hub.dump.read_text()
    assert hub.settings.read_text() == "later" and not hub.archive.exists()


def check_it_went_back(hub: Hub, before: str, said: str | None, reason: str) -> None:
    assert said and reason in said and "The Hub runs as before" in said
    assert hub.state() == before
    assert hub.settings.read_text() == "former" and not hub.archive.exists()
    assert (hub.directory / "bin/asked").read_text().split()[-1] == "start"


def test_a_step_that_fails_is_taken_back_with_those_before_it(hub: Hub) -> None:
    """The third of four."""
    hub.sql("ALTER TABLE users ADD COLUMN user_info text")
    before = hub.state()
    said = hub.carry_over()
    check_it_went_back(hub, before, said, 'column "user_info" of relation "users" already exists')


def test_a_schema_with_which_the_hub_does_not_start_is_taken_back(hub: Hub) -> None:
    (hub.directory / "bin/broken").touch()
    before = hub.state()
    check_it_went_back(hub, before, hub.carry_over(), "the Hub does not start:\nboom")


def cut(hub: Hub, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try of which the power is cut once the tables have a schema in between."""
    command, steps = hub_schema.UPGRADE, hub_schema.UPGRADE.replace('"head"', f'"{at}"')
    assert command != steps
    monkeypatch.setattr(hub_schema, "UPGRADE", steps)

    def power_cut() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(hub_schema, "start", power_cut)
        hub.carry_over()
    monkeypatch.setattr(hub_schema, "UPGRADE", command)
    hub.dump = hub.dump.with_stem("2")


def test_after_a_try_that_was_cut_half_way_it_goes_back_to_before_that(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hub.state()
    cut(hub, REVISIONS[1], monkeypatch)
    assert hub.state() != before
    (hub.directory / "bin/broken").touch()
    check_it_went_back(hub, before, hub.carry_over(), "the Hub does not start")
    assert SCHEMA in hub.dump.read_text()
    assert [path.name for path in hub.directory.rglob("*.sql")] == ["2.sql"]


def test_after_a_try_that_was_cut_half_way_it_is_carried_over(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(hub, REVISIONS[1], monkeypatch)
    assert hub.carry_over() is None
    assert REVISIONS[0] in hub.state() and SCHEMA in hub.dump.read_text()


def test_what_came_after_a_try_that_changed_nothing_is_not_lost(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner had the former release run again, say."""
    cut(hub, SCHEMA, monkeypatch)
    hub.sql("INSERT INTO users (name, admin, cookie_id) VALUES ('eve', false, 'y')")
    before = hub.state()
    (hub.directory / "bin/broken").touch()
    check_it_went_back(hub, before, hub.carry_over(), "the Hub does not start")


def test_a_dump_that_cannot_be_made_changes_nothing(hub: Hub) -> None:
    """A table of somebody else's, which the Hub's role may not read."""
    with hub.cluster.superuser() as connection:
        connection.execute("CREATE TABLE public.theirs ()")
    said = hub.carry_over()
    assert said and "pg_dump: " in said and "The Hub runs as before" in said
    assert not hub.dump.exists() and hub.settings.read_text() == "former"


def test_who_dumps_and_what_is_dumped_are_asked(hub: Hub) -> None:
    command = Versions().command(sys.executable, str(hub.url_file)).get_raw_value()
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    major = int(hub.cluster.binaries.parent.name)
    assert Versions().process(done.stdout.splitlines()) == (major, major)
