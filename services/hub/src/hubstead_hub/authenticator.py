"""JupyterHub's login by the users table."""

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tornado import web
from traitlets import Unicode, default

from hubstead_hub.guessing import Arguments, Guessing, Result, in_thread, number
from hubstead_hub.later import TryLater
from hubstead_hub.may_stay import Ruled, StillEnding, may_refuse
from hubstead_hub.sessions import account_of, is_another, is_left_over, kind_of, mark_of
from hubstead_userdb.errors import UnavailableError
from hubstead_userdb.passwords import DEFAULT_COST, DEFAULT_MIN_LENGTH, Passwords
from hubstead_userdb.reader import UsersReader
from hubstead_userdb.table import User


class PasswordChangeRequired(web.HTTPError):
    """The password is right, but gives no session before it was changed."""

    def __init__(self, username: str) -> None:
        super().__init__(403, "Change your password first.")
        self.username = username


class UsersTableAuthenticator(Guessing, Ruled):
    """Logs in whoever is enabled in the users table, admins as the table says.

    bcrypt and the database are used from two bounded sets of threads, so that neither a slow
    database nor a whole class logging in at once stops the Hub from answering.
    """

    #: Of accounts that are numbers (hubstead_hub.sessions.kind_of)
    kind = ""

    dsn_file = Unicode(
        help="File with the libpq connection line of the role userdb_reader.",
    ).tag(config=True)

    database_timeout = number(
        3, "Seconds for connecting to the database, and for a statement.", min=2
    )

    database_connections = number(
        4, "Connections to the users' database at the same time, at most.", min=1
    )

    bcrypt_cost = number(DEFAULT_COST, "bcrypt cost of new hashes.", min=4, max=15)

    minimum_password_length = number(
        DEFAULT_MIN_LENGTH, "Characters that a new password needs at least.", min=1, max=72
    )

    def changes_passwords(self, name: str) -> bool:
        return True

    @default("allow_all")
    def _allow_all_default(self) -> bool:
        # The table is the list of who is allowed, unless the owner narrows it further.
        return not (self.allowed_users or self.allow_existing_users)

    @cached_property
    def passwords(self) -> Passwords:
        """The rule for new passwords, and the checking of all."""
        return Passwords(self.bcrypt_cost, self.minimum_password_length)

    @cached_property
    def _reader(self) -> UsersReader:
        return UsersReader(Path(self.dsn_file), self.database_timeout, "jupyterhub")

    @cached_property
    def _database_executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.database_connections, "userdb")

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """The login form and the page to change one's password."""
        # Here, as the handlers need this module.
        from hubstead_hub.handlers import (
            ChangePasswordHandler,
            EverywhereLogoutHandler,
            TableLoginHandler,
        )

        return [
            ("/login", TableLoginHandler),
            ("/logout", EverywhereLogoutHandler),
            ("/change-password", ChangePasswordHandler),
        ]

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:
        """The user's name and whether an admin, or None for a wrong name or password.

        :raises PasswordChangeRequired: if both are right, and the password has to be changed.
        :raises HTTPError: 429 after too many failures, 503 while the table cannot be read, or while
            something of a former account of this name is still there.
        """
        user = await self.verify(handler, data.get("username", ""), data.get("password", ""))
        if user is None:
            return None
        if user.must_change_password:
            raise PasswordChangeRequired(user.username)
        mark = self.marks.get(user.username)
        former = account_of(mark)
        if is_another(str(user.id), former) or is_left_over(mark, str(user.id)):
            raise StillEnding
        if not former or kind_of(former):
            self.marks.set({user.username: mark_of(user)})
        return {"name": user.username, "admin": self._is_admin(user)}

    def _is_admin(self, user: User) -> bool:
        return user.admin or self.rules.now.is_admin(self.called(user.username))

    async def verify(self, handler: Any, username: str, password: str) -> User | None:
        """The enabled user whose password this is, or None; with a limit on guessing.

        :raises HTTPError: as `authenticate` does, and 403 for a name that is somebody's who logs in
            another way.
        """
        name = self.normalize_username(username)
        user = await self.guess(handler, name, lambda whose: self._check(name, password, whose))
        if user is not None:
            self.refuse_whose_name_is_anothers(user.username)
            if self.way and user.username in self.rules.now.names.values():
                self._refuse(f"{user.username!r} is somebody else's, by `hub_username_map`.")
        return user

    async def _check(self, name: str, password: str, whose: str) -> User | None:
        if not self.passwords.usable(password):
            return None
        user, cost = await self._with_database(self._reader.find_for_login, name)
        known = user.password_hash if user is not None and user.enabled else None
        fits = await self.in_turn(whose, self.passwords.matches, password, known, cost)
        return user if fits else None

    async def change_password(self, user: User, new_password: str) -> bool:
        """Set a new password; False if the user's row has changed since it was read."""
        # who knows the old password is a source of their own
        new_hash = await self.in_turn(user.username, self.passwords.hash, new_password)
        async with self.marks.lock:
            changed = await self._with_database(
                self._reader.change_password, user.username, user.password_hash, new_hash
            )
            # whose mark it is not: those sessions are another's to end
            if changed and account_of(self.marks.get(user.username)) == str(user.id):
                new = replace(user, password_hash=new_hash, must_change_password=False)
                self.marks.set({user.username: mark_of(new)})
        return changed

    async def has(self, name: str) -> bool:
        """Whether somebody of the table has a name.

        :raises HTTPError: 503 where the table cannot be read.
        """
        return await self._with_database(self._reader.find, name) is not None

    async def account(self, name: str) -> str | None:
        """What tells an account from the next one of its name; None where that is not known."""
        try:
            user = await in_thread(self._database_executor, self._reader.find, name)
        except UnavailableError:
            return account_of(self.marks.get(name))
        return str(user.id) if user is not None else None

    async def standing(self, names: Iterable[str], active: Collection[Any]) -> dict[str, str]:
        """The mark of each account (hubstead_hub.sessions.Marks), whatever the Hub has of it.

        None at all while the table cannot be read.
        """
        try:
            users = await in_thread(self._database_executor, self._reader.everyone)
        except UnavailableError as error:
            self.log.warning("Keeping all sessions: %s", error)
            return {}
        blocked = self.rules.now.blocks
        return {
            user.username: f"{user.id}-" if blocked(user.username) else mark_of(user)
            for user in users
        }

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        """False ends the session: of who is gone, disabled, or was given a new first password.

        While the database is down, everyone who is logged in stays so.
        """
        may_refuse(handler)
        if self.rules.now.blocks(user.name):
            return False
        try:
            row = await in_thread(self._database_executor, self._reader.find, user.name)
        except UnavailableError as error:
            self.log.warning("Keeping the session of %s: %s", user.name, error)
            return True
        if row is None or not row.enabled or row.must_change_password:
            return False
        admin = self._is_admin(row)
        return True if admin == user.admin else {"name": user.name, "admin": admin}

    async def _with_database(
        self,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        try:
            return await in_thread(self._database_executor, work, *args, **kwargs)
        except UnavailableError as error:
            self.log.error("The users table cannot be used: %s", error)
            raise TryLater(
                503,
                "The user database does not answer at the moment. Please try again in a minute.",
                30,
            ) from error
