"""Whether a password is right, with limits on guessing and on the processors it may cost."""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hubstead_login.database import LoginDatabase
from hubstead_userdb.errors import UnavailableError, UserdbError
from hubstead_userdb.names import normalised
from hubstead_userdb.passwords import Passwords
from hubstead_userdb.table import User
from hubstead_userdb.throttle import Throttle

Result = TypeVar("Result")

#: Requests that may wait for bcrypt. gunicorn has more threads than this, so that the proxy's
#: questions are answered however many people log in.
PASSWORD_QUEUE = 200

_log = logging.getLogger(__name__)


class TryLaterError(UserdbError):
    """What to tell a person now, with the answer's status and the seconds to wait."""

    def __init__(self, status: int, message: str, seconds: int) -> None:
        super().__init__(message)
        self.status = status
        self.seconds = seconds


class Verifier:
    """Checks and replaces passwords. Thread-safe; its calls block.

    :param database: the users.
    :param passwords: the rule for new passwords and the cost of their hashes.
    """

    def __init__(self, database: LoginDatabase, passwords: Passwords) -> None:
        self.passwords = passwords
        self._database = database
        self._throttle = Throttle()
        # As many as processors: more would only take turns, each of them later.
        self._executor = ThreadPoolExecutor(os.cpu_count() or 1, "bcrypt")
        self._places = threading.BoundedSemaphore(PASSWORD_QUEUE)

    def verify(self, username: str, password: str, address: str) -> User | None:
        """The enabled user whose password this is, or None.

        :param address: where the attempt comes from.
        :raises TryLaterError: after too many failures, or while too many are waiting.
        :raises UnavailableError: while the table cannot be read.
        """
        name = normalised(username)
        wait = self._throttle.admit(name, address)
        if wait:
            _log.warning("too many failed attempts from %s, refusing for %s s", address, wait)
            minutes = -(-wait // 60)
            raise TryLaterError(
                429,
                "Too many failed attempts to log in. "
                f"Try again in {minutes} minute{'s' if minutes > 1 else ''}.",
                wait,
            )
        try:
            user = self._check(name, password)
        except (TryLaterError, UnavailableError):
            # Nobody guessed: the database was down, or too many were waiting.
            self._throttle.aborted(name, address)
            raise
        if user is not None:
            self._throttle.succeeded(name, address)
        return user

    def change(self, user: User, new_password: str) -> str | None:
        """Set a new password; return its hash, or None if the row changed since it was read."""
        new_hash = self._with_bcrypt(lambda: self.passwords.hash(new_password))
        changed = self._database.change_password(user.username, user.password_hash, new_hash)
        return new_hash if changed else None

    def _check(self, name: str, password: str) -> User | None:
        if not self.passwords.usable(password):
            return None
        user, cost = self._database.find_for_login(name)
        known = user.password_hash if user is not None and user.enabled else None
        fits = self._with_bcrypt(lambda: self.passwords.matches(password, known, cost))
        return user if fits else None

    def _with_bcrypt(self, work: Callable[[], Result]) -> Result:
        if not self._places.acquire(blocking=False):
            raise TryLaterError(
                503, "Too many people are logging in right now. Please try again in a minute.", 30
            )
        try:
            return self._executor.submit(work).result()
        finally:
            self._places.release()
