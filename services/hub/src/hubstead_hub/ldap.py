"""Login by an LDAP directory: OpenLDAP, Active Directory, FreeIPA, 389 Directory Server.

jupyterhub-ldapauthenticator 2.0.2 looks at somebody once, at a login (its issue 218), returns no
groups, and stops the Hub while the directory is slow.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from traitlets import List, Unicode, default

from hubstead_hub.directory import Directory, Person, UnusableError
from hubstead_hub.form import FormLogin
from hubstead_hub.guessing import in_thread
from hubstead_hub.may_stay import AT_ONCE, AwayError


class Ldap(FormLogin):
    """Logs in whom the directory has, by the password that it knows."""

    who_knows = "The directory"

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

    async def checked(self, whose: str, name: str, password: str) -> dict[str, Any] | None:
        groups = self.groups_that_count
        try:
            log_in = self._directory.log_in
            return self._described(await self.in_turn(whose, log_in, name, password, groups))
        except UnusableError as error:
            self.log.error("Nobody can log in: the directory: %s", error)
            raise AwayError(str(error)) from None

    async def ask(self, user: Any, handler: Any) -> dict[str, Any] | None:
        look, groups = self._directory.find, self.groups_that_count
        try:
            found = await in_thread(self._lookers, look, self.given(user.name), groups)
        except UnusableError as error:
            raise AwayError(f"the directory: {error}") from None
        return self._described(found)

    @staticmethod
    def _described(person: Person | None) -> dict[str, Any] | None:
        if person is None:
            return None
        return {
            "name": person.name,
            "identity": person.identity,
            "groups": sorted(person.groups),
            "auth_state": None,
        }
