"""People of an LDAP directory (RFC 4511), found and told by their passwords with ldap3.

All of it blocks, and is for threads. Connections are encrypted before anything is sent, by LDAPS or
StartTLS, and the server's certificate is verified by the system's authorities. Referrals are not
followed: they would lead passwords to servers that nobody named.

`python -m hubstead_hub.directory SETTINGS <PASSWORD` asks it once, as the Hub does.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ldap3 import DEREF_NEVER, NONE, SUBTREE, Connection, Server, Tls
from ldap3.core.exceptions import LDAPException, LDAPOperationResult
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import parse_dn
from pyasn1.error import PyAsn1Error

#: Seconds for a connection to a server, and for each of its answers
CONNECT, ANSWER = 3, 5
#: Seconds for which nobody asks again where no server could be used and it took longer than LONG to
#: find out, or each would wait as long for the same
PAUSE, LONG = 3, 0.9
#: What never changes and is never another's: RFC 4530, Active Directory, 389 Directory Server
IDENTITIES = ("entryUUID", "objectGUID", "nsUniqueId")
#: Results of a bind that say something of the person (RFC 4511, A.1): constraintViolation,
#: inappropriateAuthentication, invalidCredentials, insufficientAccessRights, unwillingToPerform.
#: Which one is for a wrong password, none at all, or a locked account, each directory has its own
REFUSED = {19, 48, 49, 50, 53}
#: Results of a search that has all, or as much as it was limited to: success, sizeLimitExceeded
ENOUGH = (0, 4)
#: What ldap3 raises where a server is away, wrong, or none of LDAP
BROKEN = (
    LDAPException, PyAsn1Error, OSError, ArithmeticError, LookupError, TypeError, ValueError,
)  # fmt: skip


class UnusableError(Exception):
    """The directory does not answer, or not as it should; nobody can be told from it."""


@dataclass(frozen=True)
class Person:
    """Somebody whom the directory has.

    + name: as it has it, whichever of several spellings found it.
    + identity: of the account, which no other gets.
    + groups: those that were asked for and have the person, as they were asked for.
    """

    dn: str
    name: str
    identity: str
    groups: frozenset[str] = frozenset()


@lru_cache(maxsize=1)
def _system_store(minute: int) -> ssl.SSLContext:
    """Read once a minute: it takes 50 to 120 ms, and authorities come and go."""
    return ssl.create_default_context()


class _Verified(Tls):  # type: ignore[misc]
    """ldap3 2.9.1 verifies nothing unless told, and then compares names by rules of its own."""

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        connection.socket = _system_store(int(time.monotonic() / 60)).wrap_socket(
            connection.socket, server_hostname=connection.server.host
        )


def _words(error: Exception) -> str:
    """What one of `BROKEN` says, in a line."""
    if isinstance(error, LDAPOperationResult):
        said = f"{error.description}: {error.message}" if error.message else error.description
    elif isinstance(error, LDAPException):
        said = str(error) or type(error).__name__
    else:
        said = repr(error)
    return " ".join(str(said).split())[:300]


def _unescaped(value: str) -> str:
    """Of a value of a distinguished name (RFC 4514, 2.4)."""
    raw = re.sub(
        rb"\\([0-9a-fA-F]{2}|.)",
        lambda found: bytes.fromhex(found[1].decode()) if len(found[1]) == 2 else found[1],
        value.encode(),
    )
    return raw.decode(errors="replace")


def _rdns(dn: str) -> tuple[tuple[str, str], ...]:
    """The types and values of a distinguished name, comparable. Raises LDAPException for none."""
    return tuple(
        (kind.strip().lower(), _unescaped(value).strip().casefold())
        for kind, value, _ in parse_dn(dn, strip=True)
    )


@dataclass
class Directory:
    """Where people are, and how they are looked for.

    + urls: ldap:// or ldaps:// and a host each, of one directory; the next one is asked where one
      does not answer.
    + base: below which people are; `attribute` is their name, `filter` what else holds for them.
    + bind_dn, bind_password: of the account that searches; without one that is anonymous.
    + group_base: below which groups are; "" for those that a person's memberOf names.
    + group_filter: what finds the groups of {dn}, who is called {name}.
    """

    urls: list[str]
    base: str
    attribute: str = "uid"
    filter: str = ""
    bind_dn: str = ""
    bind_password: str = field(default="", repr=False)
    group_base: str = ""
    group_filter: str = ""
    _away: tuple[float, str] = field(default=(0.0, ""), init=False, repr=False)

    def find(self, name: str, groups: Collection[str] = ()) -> Person | None:
        """Who is called so and within the filter, with those of `groups` that have them.

        Raises UnusableError; also where nobody at all is found, as when the searching account has
        lost its rights: that says nothing of one.
        """
        with self._bound() as connection:
            person = self._find(connection, name, groups)
            if person is None and not self._finds_anybody(connection):
                raise UnusableError("it finds nobody at all: rights, `hub_ldap_filter`?")
            return person

    def log_in(self, name: str, password: str, groups: Collection[str] = ()) -> Person | None:
        """The same for whose password it is. Raises UnusableError."""
        if not password:
            # the server would take it for anonymous, and say yes (RFC 4513, 5.1.2)
            return None
        with self._bound() as connection:
            person = self._find(connection, name, groups)
            return person if person and self._is_of(connection, person.dn, password) else None

    def check(self) -> None:
        """Do once what logins do. Raises UnusableError."""
        with self._bound() as connection:
            if not self._finds_anybody(connection):
                raise UnusableError(
                    f"below {self.base!r} it finds nobody who has {self.attribute!r}"
                    f"{' and is within ' + self.filter if self.filter else ''}"
                )
            self._groups(connection, self.base, "nobody", {"cn=nobody"})

    @contextmanager
    def _bound(self) -> Iterator[Connection]:
        """A connection on which searches are the searching account's."""
        begun, (until, why) = time.monotonic(), self._away
        if begun < until:
            raise UnusableError(why)
        problems: list[str] = []
        for url in self.urls:
            try:
                connection = self._connected(url)
            except BROKEN as error:
                problems.append(f"{url}: {_words(error)}")
                continue
            # who answered is asked first the next time; a new list, as threads walk through it
            self.urls = sorted(self.urls, key=lambda each: each != url)
            try:
                yield connection
            except BROKEN as error:
                raise UnusableError(f"{url}: {_words(error)}") from error
            finally:
                _close(connection)
            return
        why = "; ".join(problems)
        if time.monotonic() - begun > LONG:
            self._away = time.monotonic() + PAUSE, why
        raise UnusableError(why)

    def _connected(self, url: str) -> Connection:
        where = urlsplit(url)
        connection = Connection(
            Server(
                where.hostname,
                where.port or (636 if where.scheme == "ldaps" else 389),
                use_ssl=where.scheme == "ldaps",
                tls=_Verified(),
                get_info=NONE,
                connect_timeout=CONNECT,
            ),
            user=self.bind_dn or None,
            # bytes go as they are: of text, ldap3 takes away what RFC 4013 maps to nothing, and a
            # password of such characters alone would become none
            password=self.bind_password.encode() or None,
            auto_referrals=False,
            check_names=False,
            raise_exceptions=True,
            receive_timeout=ANSWER,
            read_only=True,
        )
        try:
            connection.open(read_server_info=False)
            if where.scheme == "ldap":
                connection.start_tls(read_server_info=False)
            if not connection.bind(read_server_info=False):
                raise LDAPException(f"the bind says {connection.result['description']}")
        except BaseException:
            _close(connection)
            raise
        return connection

    def _is_of(self, connection: Connection, dn: str, password: str) -> bool:
        """Whether a bind with the password succeeds; no search may come after it."""
        try:
            return bool(connection.rebind(dn, password.encode(), read_server_info=False))
        except LDAPOperationResult as error:
            if error.result in REFUSED:
                return False
            raise

    def _search(
        self, connection: Connection, base: str, filter: str, attributes: list[str], limit: int = 0
    ) -> list[Mapping[str, Any]]:
        connection.search(
            base,
            filter,
            SUBTREE,
            # an alias may lead out of the base
            dereference_aliases=DEREF_NEVER,
            attributes=attributes,
            size_limit=limit,
            time_limit=ANSWER,
        )
        if connection.result["result"] not in ENOUGH[: 1 + bool(limit)]:
            raise UnusableError(f"the search says {connection.result['description']}")
        # the others are referrals
        return [each for each in connection.response if each["type"] == "searchResEntry"]

    def _finds_anybody(self, connection: Connection) -> bool:
        filter = f"(&({self.attribute}=*){self.filter})"
        return bool(self._search(connection, self.base, filter, ["1.1"], limit=1))

    def _find(self, connection: Connection, name: str, groups: Collection[str]) -> Person | None:
        found = self._search(
            connection,
            self.base,
            f"(&({self.attribute}={escape_filter_chars(name)}){self.filter})",
            [self.attribute, *IDENTITIES, *([] if self.group_base else ["memberOf"])],
        )
        if len(found) != 1:
            # of two nobody can say who is meant
            return None
        entry = found[0]
        dn, raw = entry["dn"], entry["raw_attributes"]
        own_name = self._name(dn, raw)
        if own_name is None:
            return None
        identity = next((raw[each][0].hex() for each in IDENTITIES if raw.get(each)), None)
        if not groups:
            members: frozenset[str] = frozenset()
        elif self.group_base:
            members = self._groups(connection, dn, own_name, groups)
        else:
            texts = [each.decode(errors="replace") for each in raw.get("memberOf", [])]
            members = _named(texts, groups, by_name=False)
        return Person(dn, own_name, identity or ",".join(map("=".join, _rdns(dn))), members)

    def _name(self, dn: str, raw: Mapping[str, list[bytes]]) -> str | None:
        """One and the same of somebody's names, or each would be another person of the Hub's."""
        names = sorted(each.decode(errors="replace") for each in raw.get(self.attribute, []))
        own = dict(_rdns(dn)[:1]).get(self.attribute.lower())
        return next((name for name in names if name.casefold() == own), names[0] if names else None)

    def _groups(
        self, connection: Connection, dn: str, name: str, wanted: Collection[str]
    ) -> frozenset[str]:
        """Those of `wanted`, by their `cn` or their whole names, that the search finds."""
        if not self.group_base:
            return frozenset()
        # of thousands of groups a server would not tell all
        own = {_rdns(group)[0] if _is_dn(group) else ("cn", group) for group in wanted}
        counted = "".join(f"({kind}={escape_filter_chars(value)})" for kind, value in sorted(own))
        members = re.sub(
            r"\{(dn|name)\}",
            lambda found: escape_filter_chars(dn if found[1] == "dn" else name),
            self.group_filter,
        )
        found = self._search(connection, self.group_base, f"(&(|{counted}){members})", ["1.1"])
        return _named([entry["dn"] for entry in found], wanted, by_name=True)


def _close(connection: Connection) -> None:
    try:
        connection.unbind()
    except BROKEN:
        connection.strategy.close()


def _is_dn(group: str) -> bool:
    try:
        return "=" in group and bool(_rdns(group))
    except LDAPException:
        return False


def _named(found: Collection[str], wanted: Collection[str], by_name: bool) -> frozenset[str]:
    """Those of `wanted` that are found: by whole names, and by `cn` alone where that will do.

    It does not where groups are anywhere: who may make one somewhere could call it as they like.
    """
    names = [_rdns(dn) for dn in found if _is_dn(dn)]
    short = {value for rdns in names for kind, value in rdns[:1] if by_name and kind == "cn"}
    return frozenset(
        group
        for group in wanted
        if (_rdns(group) in names if _is_dn(group) else group.casefold() in short)
    )


def main() -> None:
    """Ask the directory of settings.json once, with the password of standard input."""
    traits = json.loads(Path(sys.argv[1]).read_text())["traits"]["Ldap"]
    known = {name: value for name, value in traits.items() if name in Directory.__annotations__}
    try:
        Directory(**known | {"bind_password": sys.stdin.read().strip()}).check()
    except UnusableError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
