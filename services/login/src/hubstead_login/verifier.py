"""Whether a password is right, with limits on guessing and on the processors it may cost."""

import logging
import os
from collections.abc import Callable
from typing import TypeVar

from hubstead_login.database import LoginDatabase
from hubstead_userdb.errors import UnavailableError, UserdbError
from hubstead_userdb.names import normalised
from hubstead_userdb.passwords import Passwords
from hubstead_userdb.table import User
from hubstead_userdb.throttle import Throttle, source
from hubstead_userdb.turns import FullError, Turns

Result = TypeVar("Result")

#: Requests that may wait for bcrypt, and how many of these from one address (of IPv6: a /64), which
#: waits for itself. gunicorn has more threads than this, so that the proxy's questions are answered
#: however many people log in.
PASSWORD_QUEUE, PASSWORD_QUEUE_OF_ONE = 450, 150

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
        # As many as processors: more would only share them, each of them later.
        self._turns = Turns(os.cpu_count() or 1, PASSWORD_QUEUE, PASSWORD_QUEUE_OF_ONE)

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
            user = self._check(name, password, source(address))
        except (TryLaterError, UnavailableError):
            # Nobody guessed: the database was down, or too many were waiting.
            self._throttle.aborted(name, address)
            raise
        if user is not None:
            self._throttle.succeeded(name, address)
        return user

    def change(self, user: User, new_password: str) -> str | None:
        """Set a new password; return its hash, or None if the row changed since it was read."""
        # who knows the old password is a source of their own
        new_hash = self._with_bcrypt(user.username, lambda: self.passwords.hash(new_password))
        changed = self._database.change_password(user.username, user.password_hash, new_hash)
        return new_hash if changed else None

    def _check(self, name: str, password: str, whose: str) -> User | None:
        if not self.passwords.usable(password):
            return None
        user, cost = self._database.find_for_login(name)
        known = user.password_hash if user is not None and user.enabled else None
        fits = self._with_bcrypt(whose, lambda: self.passwords.matches(password, known, cost))
        return user if fits else None

    def _with_bcrypt(self, whose: str, work: Callable[[], Result]) -> Result:
        try:
            with self._turns.turn(whose):
                return work()
        except FullError as error:
            raise TryLaterError(
                503, "Too many people are logging in right now. Please try again in a minute.", 30
            ) from error
