"""Login by an LDAP directory: OpenLDAP, Active Directory, FreeIPA, 389 Directory Server.

jupyterhub-ldapauthenticator 2.0.2 looks at somebody once, at a login (its issue 218), returns no
groups, and stops the Hub while the directory is slow.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from tornado import web
from traitlets import List, Unicode, default

from hubstead_hub.directory import Directory, Person, UnusableError
from hubstead_hub.guessing import Guessing, in_thread
from hubstead_hub.may_stay import AT_ONCE, AwayError, MayStay
from hubstead_userdb.names import normalised

#: Characters that a name or a password may have: the directory is not sent megabytes
LONGEST = 256
#: Seconds: an answer to a wrong login comes after one, or two ..., whatever the reason was
STEP = 1.0


class Ldap(Guessing, MayStay):
    """Logs in whom the directory has, by the password that it knows."""

    urls = List(Unicode(), help="Servers of the directory: ldap:// (StartTLS) or ldaps://.").tag(
        config=True
    )
    base = Unicode(help="Below which people are.").tag(config=True)
    attribute = Unicode("uid", help="What is somebody's name.").tag(config=True)
    filter = Unicode(help="What else holds for who may log in and stay (RFC 4515).").tag(
        config=True
    )
    bind_dn = Unicode(help="Who searches; empty: anonymous.").tag(config=True)
    bind_password = Unicode(help="The password of that.").tag(config=True)
    group_base = Unicode(help="Below which groups are; empty: those of memberOf.").tag(config=True)
    group_filter = Unicode(help="What finds the groups of {dn}, who is called {name}.").tag(
        config=True
    )

    @default("password_threads")
    def _password_threads_default(self) -> int:
        # which wait for the directory
        return AT_ONCE

    @property
    def kind(self) -> str:
        return f"ldap_{hashlib.sha256(self.base.lower().encode()).hexdigest()[:8]}"

    def identity(self, found: dict[str, Any]) -> str:
        return str(found["identity"])

    @cached_property
    def _directory(self) -> Directory:
        names = ("urls", "base", "attribute", "filter", "bind_dn", "bind_password")
        return Directory(
            **{name: getattr(self, name) for name in (*names, "group_base", "group_filter")}
        )

    @cached_property
    def _lookers(self) -> ThreadPoolExecutor:
        """Apart from logins, however many of those wait."""
        return ThreadPoolExecutor(AT_ONCE, "directory")

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """The login form."""
        # here, as the handlers need the users table's authenticator
        from hubstead_hub.handlers import EverywhereLogoutHandler, PasswordLoginHandler

        return [("/login", PasswordLoginHandler), ("/logout", EverywhereLogoutHandler)]

    async def authenticate(self, handler: Any, data: Any = None, **options: Any) -> Any:
        """Who logs in; None for a wrong name or password, after about the same time.

        :raises HTTPError: 403 for who is known and may not, 429 after too many failures, 503 while
            the directory does not answer.
        """
        begun = time.monotonic()
        name, password = normalised(data.get("username", "")), data.get("password", "")
        person = await self.guess(handler, name, lambda whose: self._checked(whose, name, password))
        if person is None:
            await asyncio.sleep(-(time.monotonic() - begun) % STEP)
            return None
        found = self._in_our_terms(self._described(person))
        allowed = self.check_blocked_users(found["name"], found) and (
            self.allow_all or await self.check_allowed(found["name"], found)
        )
        if not allowed:
            self.log.warning("User %r may not log in by the rules", found["name"])
            raise web.HTTPError(
                403,
                "The directory knows you, but you may not use this service. If you should, ask the "
                "people who run it.",
            )
        return found

    async def _checked(self, whose: str, name: str, password: str) -> Person | None:
        longest = max(len(name), len(password))
        if not (name and password and name.isprintable()) or longest > LONGEST:
            return None
        groups = self.rules.now.groups
        try:
            return await self.in_turn(whose, self._directory.log_in, name, password, groups)
        except UnusableError as error:
            self.log.error("Nobody can log in: the directory: %s", error)
            raise AwayError(str(error)) from None

    async def ask(self, user: Any, handler: Any) -> dict[str, Any] | None:
        rules = self.rules.now
        given = next((name for name, own in rules.names.items() if own == user.name), user.name)
        try:
            person = await in_thread(self._lookers, self._directory.find, given, rules.groups)
        except UnusableError as error:
            raise AwayError(f"the directory: {error}") from None
        return self._described(person) if person else None

    @staticmethod
    def _described(person: Person) -> dict[str, Any]:
        return {
            "name": person.name,
            "identity": person.identity,
            "groups": sorted(person.groups),
            "auth_state": None,
        }
