"""The login's access to the users table and to its sessions, over a pool of connections."""

import hashlib
import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg_pool import ConnectionPool

from hubstead_userdb.database import conninfo, parameters
from hubstead_userdb.reader import UsersReader

_TIMEOUT = 3
_CONNECTIONS = 8


@dataclass(frozen=True)
class Session:
    """Somebody who is logged in."""

    username: str
    #: Until the session ends by itself.
    seconds: int


class LoginDatabase(UsersReader):
    """Thread-safe access as the role ``userdb_login``.

    Unlike the reader of the Hub it keeps connections: the proxy asks for a session at every
    request. Each is tried before it is lent, so that a restart of the database is no error.

    :param dsn_file: holds the libpq connection line.
    """

    def __init__(self, dsn_file: Path) -> None:
        super().__init__(dsn_file, _TIMEOUT, "hubstead-login")
        self._pool = ConnectionPool(
            lambda: conninfo(dsn_file),
            kwargs={**parameters(_TIMEOUT, "hubstead-login"), "autocommit": True},
            check=ConnectionPool.check_connection,
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=_TIMEOUT,
            # Short: the pool doubles its pauses until then, and begins anew with the next request.
            reconnect_timeout=1,
            # Without waiting, so that the login starts before the database as well.
            open=True,
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def open_session(self, username: str, password_hash: str, minutes: int) -> str | None:
        """Begin a session; return its secret, or None if the user was changed meanwhile.

        :param password_hash: what the password was found to match; it must still be in force.
        :raises UnavailableError: if the database cannot be used; so do the others.
        """
        secret = secrets.token_urlsafe(32)

        def begin(connection: psycopg.Connection) -> bool:
            row = connection.execute(
                "SELECT public.login_session_open(%s, %s, %s, %s)",
                [username, password_hash, _digest(secret), minutes],
            ).fetchone()
            return row is not None and bool(row[0])

        return secret if self._run(begin) else None

    def session(self, secret: str) -> Session | None:
        """The live session with this secret, or None."""
        if not secret:
            return None

        def find(connection: psycopg.Connection) -> Session | None:
            row = connection.execute(
                "SELECT username, seconds FROM public.login_session_find(%s)", [_digest(secret)]
            ).fetchone()
            return None if row is None else Session(row[0], row[1])

        return self._run(find)

    def close_session(self, secret: str) -> None:
        """End the session, if there is one."""
        self._run(
            lambda connection: connection.execute(
                "SELECT public.login_session_close(%s)", [_digest(secret)]
            )
        )

    def ping(self) -> None:
        """Ask the database for nothing.

        :raises UnavailableError: if it does not answer.
        """
        self._run(lambda connection: connection.execute("SELECT FROM public.users LIMIT 0"))

    def _connection(self) -> AbstractContextManager[psycopg.Connection]:
        return self._pool.connection()


def _digest(secret: str) -> bytes:
    # Plain SHA-256 is enough for 256 random bits: there is nothing to guess.
    return hashlib.sha256(secret.encode(errors="replace")).digest()
