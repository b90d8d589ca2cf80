#!/usr/bin/python3 -I
"""Carry the Hub's database over to the schema of the Hub's new release, or go back to what was.

`jupyterhub upgrade-db` commits each step, and leaves a copy of PostgreSQL's to the owner
(JupyterHub, "Upgrading JupyterHub"). Here a dump is made while the Hub is stopped; people's servers
go on. Where the new schema cannot be made, or the Hub does not answer with it, the dump is put
back, and the files in the archive, which the Hub then starts with. Until then the dump lies beside
the archive: after a try that was cut between two steps, it is the one of before that try which
counts. Arguments: the file with the URL of the database (SQLAlchemy, "Database URLs"), where the
dump is in the end, the archive.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

RELEASE = "/opt/hubstead/hub/current/bin"
UNIT = "jupyterhub.service"

#: Run by the release. What an error says has several lines, of which the first is the reason.
UPGRADE = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from alembic.command import upgrade
from alembic.config import Config
from jupyterhub.dbutil import write_alembic_ini
with TemporaryDirectory() as directory:
    write_alembic_ini(file := f"{directory}/alembic.ini", Path(sys.argv[1]).read_text().strip())
    try:
        upgrade(Config(file), "head")
    except Exception as error:
        sys.exit(str(error).partition("\\n")[0])
"""
#: What is in no dump has to go as well, or the next upgrade would meet it
CLEAR = """
DO $$
DECLARE found regclass;
BEGIN
    FOR found IN SELECT oid FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    LOOP
        EXECUTE format('DROP TABLE %s CASCADE', found);
    END LOOP;
END $$;
"""


class FailedError(Exception):
    """A command failed; why."""


def client(url: str) -> tuple[str, dict[str, str]]:
    """A database for libpq's programs: its URI, and what is for the environment alone."""
    parts = urlsplit(url)
    where = parts.netloc.replace(f":{parts.password}@", "@", 1)
    # a + is no space there, and the Hub's options are for its own queries
    query = [(key, value) for key, value in parse_qsl(parts.query) if key != "options"]
    plain = parts._replace(
        scheme="postgresql", netloc=where, query=urlencode(query, quote_via=quote)
    )
    # somebody else's transaction may hold a table for ever
    options = "-c lock_timeout=60s"
    return plain.geturl(), {"PGPASSWORD": unquote(parts.password or ""), "PGOPTIONS": options}


def do(*command: str, env: dict[str, str] | None = None, text: str | None = None) -> None:
    """Run a command to its end. Raises FailedError with its last words."""
    done = subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.strip().rpartition("\n")[2]
        raise FailedError(f"{Path(command[0]).name}: {words}")


def start() -> None:
    """Start the Hub, which then answers. Raises FailedError with the last lines of its journal."""
    do("systemctl", "daemon-reload")
    try:
        do("systemctl", "start", UNIT)
    except FailedError:
        journal = ["journalctl", "--no-pager", "-o", "cat", "-n", "20", "-u", UNIT]
        lines = subprocess.run(journal, capture_output=True, text=True, check=False).stdout
        raise FailedError(f"the Hub does not start:\n{lines.rstrip()}") from None


def revision(dump: Path) -> str:
    """The schema of the database in a dump, as `alembic_version` has it."""
    with dump.open() as lines:
        for line in lines:
            if re.match(r"COPY public\.alembic_version ", line):
                return next(lines).strip()
    return ""


def dump_to(dump: Path, database: str, env: dict[str, str]) -> None:
    """Make the dump; one of before another schema stays, as the database is half-way by now."""
    part = dump.with_suffix(".part")
    do("pg_dump", f"--file={part}", f"--dbname={database}", env=env)
    if dump.exists() and revision(dump) != revision(part):
        part.unlink()
    else:
        part.rename(dump)


def go_back(database: str, env: dict[str, str], dump: Path, archive: Path) -> None:
    do("systemctl", "stop", UNIT)
    if dump.exists():
        strictly = ("--single-transaction", "--set=ON_ERROR_STOP=1")
        psql = ("psql", "--no-psqlrc", "--quiet", *strictly, f"--dbname={database}")
        do(*psql, env=env, text=CLEAR + dump.read_text())
    if archive.exists():
        do("tar", "-C", "/", "-xpf", str(archive))
    start()


def finish(before: Path, dump: Path, archive: Path) -> None:
    """No try is under way any more."""
    if before.exists():
        before.rename(dump)
    archive.unlink(missing_ok=True)


def main(url_file: str, dump: Path, archive: Path) -> str | None:
    """Returns why the Hub is as it was, None where it is carried over."""
    database, env = client(Path(url_file).read_text().strip())
    os.umask(0o077)
    before = archive.with_suffix(".sql")
    for path in (before, dump):
        path.parent.mkdir(parents=True, exist_ok=True)
    do("systemctl", "stop", UNIT)
    try:
        dump_to(before, database, env)
        do(f"{RELEASE}/python", "-I", "-c", UPGRADE, url_file, env=env)
        start()
    except (FailedError, OSError) as error:
        reason = f"The Hub's database cannot be carried over to the new schema. {error}\n"
        try:
            go_back(database, env, before, archive)
        except (FailedError, OSError) as another:
            return (
                f"{reason}Going back failed as well: {another}\nThe Hub's database as it was is "
                f"in {before}, and the former Hub's files are in {archive} (docs/hosts.md, A new "
                "schema)."
            )
        finish(before, dump, archive)
        return f"{reason}The Hub runs as before, with its former release and database."
    finish(before, dump, archive)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
