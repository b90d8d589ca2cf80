"""Connections to the users' database, from a connection line in a file."""

from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from hubstead_userdb.errors import UnavailableError, one_line

OWNER_DSN_FILE = Path("/etc/hubstead/userdb/owner.dsn")


def connect(dsn_file: Path, timeout: int, application: str) -> psycopg.Connection:
    """Open a connection; the file is read anew each time, so a new password needs no restart.

    :param dsn_file: holds one libpq connection line (``host=... dbname=... user=...``).
    :param timeout: seconds for connecting, for a statement, and for a peer that went silent.
    :param application: the name under which PostgreSQL lists the connection.
    :raises UnavailableError: with one line that says what is wrong; it never quotes the file.
    """
    line = conninfo(dsn_file)
    try:
        return psycopg.connect(line, **parameters(timeout, application))
    except psycopg.Error as error:
        raise UnavailableError(f"cannot reach the database: {one_line(error)}") from error


def conninfo(dsn_file: Path) -> str:
    """The file's connection line.

    :raises UnavailableError: as ``connect`` does.
    """
    line = _read(dsn_file)
    try:
        conninfo_to_dict(line)
    except psycopg.ProgrammingError:
        # libpq's own message quotes the word it stumbled over, which may be the password.
        raise UnavailableError(
            f"{dsn_file} does not hold a libpq connection line (host=... dbname=... user=...)"
        ) from None
    return line


def parameters(timeout: int, application: str) -> dict[str, Any]:
    """What every connection has beside its line; for the arguments see ``connect``."""
    return {
        "connect_timeout": timeout,
        "tcp_user_timeout": timeout * 1000,
        "options": f"-c statement_timeout={timeout * 1000}",
        "application_name": application,
    }


def explain(error: psycopg.Error) -> str:
    """A server's refusal on one line, without its detail, which quotes whole rows."""
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedFunction):
        return "the users table is missing: run 'sudo hub-users migrate'"
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return "another hub-users has been at work for 30 seconds: try again"
    if error.diag.message_primary:
        return f"the database refused: {error.diag.message_primary}"
    return f"the database stopped answering: {one_line(error)}"


def _read(dsn_file: Path) -> str:
    try:
        return dsn_file.read_text(encoding="utf-8").strip()
    except PermissionError:
        raise UnavailableError(f"cannot read {dsn_file}: run with sudo") from None
    except FileNotFoundError:
        raise UnavailableError(
            f"{dsn_file} does not exist: has this host's users table been deployed?"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(f"cannot read {dsn_file}: {type(error).__name__}") from None
