"""What a login page may do with the users table: look a user up, change one's own password."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import psycopg

from hubstead_userdb import table
from hubstead_userdb.database import connect, explain
from hubstead_userdb.errors import UnavailableError
from hubstead_userdb.names import is_username

Result = TypeVar("Result")

# After a failure, answer at once for this long instead of making everyone wait for a timeout in
# turn. Short, because it also is the longest that recovery goes unnoticed.
_PAUSE = 1.0


class UsersReader:
    """Thread-safe access as the role ``userdb_reader``. Its calls block: use them from a thread.

    Every call connects anew. That takes some milliseconds beside the quarter of a second that
    bcrypt takes, and no connection can be stale after the database restarted.

    :param dsn_file: holds the libpq connection line.
    :param timeout: seconds for connecting and for a statement.
    :param application: the name under which PostgreSQL lists the connections.
    """

    def __init__(self, dsn_file: Path, timeout: int, application: str) -> None:
        self._dsn_file = dsn_file
        self._timeout = timeout
        self._application = application
        self._down_until = 0.0
        self._down_reason = ""

    def find(self, username: str) -> table.User | None:
        """The user, or None.

        :raises UnavailableError: if the table cannot be read.
        """
        if not is_username(username):
            return None
        return self._run(lambda connection: table.find(connection, username))

    def find_for_login(self, username: str) -> tuple[table.User | None, int]:
        """The user, or None, and the highest bcrypt cost of all users' hashes.

        :raises UnavailableError: if the table cannot be read.
        """

        def find(connection: psycopg.Connection) -> tuple[table.User | None, int]:
            user = table.find(connection, username) if is_username(username) else None
            return user, table.highest_cost(connection)

        return self._run(find)

    def everyone(self) -> list[table.User]:
        """All users.

        :raises UnavailableError: if the table cannot be read.
        """
        return self._run(table.everyone)

    def change_password(self, username: str, current_hash: str, new_hash: str) -> bool:
        """Replace the hash of an enabled user if it is still ``current_hash``; return whether so.

        :raises UnavailableError: if the database cannot be reached.
        """

        def change(connection: psycopg.Connection) -> bool:
            row = connection.execute(
                "SELECT public.change_password(%s, %s, %s)", [username, current_hash, new_hash]
            ).fetchone()
            return row is not None and bool(row[0])

        return self._run(change)

    def _run(self, work: Callable[[psycopg.Connection], Result]) -> Result:
        if time.monotonic() < self._down_until:
            raise UnavailableError(self._down_reason)
        try:
            try:
                with self._connection() as connection:
                    return work(connection)
            except psycopg.Error as error:
                raise UnavailableError(explain(error)) from error
        except UnavailableError as error:
            self._down_reason = str(error)
            self._down_until = time.monotonic() + _PAUSE
            raise

    def _connection(self) -> AbstractContextManager[psycopg.Connection]:
        return connect(self._dsn_file, self._timeout, self._application)
