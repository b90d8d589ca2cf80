"""Who may log in, and who may stay, for every way to log in.

JupyterHub looks at the allow rule at a login alone (Authenticator.refresh_user of 6.1.1 never calls
check_allowed), so that who was taken out of a list, a group or the provider's accounts goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from jupyterhub import roles
from jupyterhub.auth import Authenticator
from jupyterhub.utils import maybe_future
from tornado import web
from traitlets import Unicode, default

from hubstead_hub.later import TryLater
from hubstead_hub.rules import RulesFile
from hubstead_hub.sessions import Marks, account_of, is_another, is_left_over, kind_of
from hubstead_userdb.names import is_username, normalised

#: Seconds for which a provider's answer about somebody counts, and people it is asked of at once
FRESH, AT_ONCE = 30, 10
#: Seconds for which it is not asked again about anybody, once it did not answer
PAUSE = 5


class AwayError(TryLater):
    """The provider does not answer, or not as it should: nobody is to lose anything by that."""

    def __init__(self, why: str) -> None:
        super().__init__(
            503,
            "The login service does not answer at the moment. Please try again in a minute.",
            30,
        )
        self.why = why


class StillEnding(TryLater):
    """Whoever had the name before is being ended, with a server that may still run."""

    def __init__(self) -> None:
        super().__init__(
            503, "The former account of this name is being ended. Please try again in a minute.", 30
        )


class UnaskableError(Exception):
    """What the provider would be asked with has ended by itself, which says nothing of anybody."""


def may_refuse(handler: Any) -> None:
    """Prepare a request, or None, for a `refresh_user` that says no.

    JupyterHub 6.1.1 sets this only for requests with a token, and reads it (in
    BaseHandler.refresh_auth) for all that are refused then: 500 where 403 is meant.
    """
    if handler is not None and not hasattr(handler, "_token_authenticated"):
        handler._token_authenticated = False


class Ruled(Authenticator):
    """Blocks by the rules, and keeps what tells an account from the next one of its name."""

    rules_file = Unicode(help="File with the rules of the settings (hubstead_hub.rules).").tag(
        config=True
    )

    marks_file = Unicode(
        "accounts.json", help="File in which the Hub keeps the state of each account it last saw."
    ).tag(config=True)

    way = Unicode(help="What the settings call it, where it is one of several ways to log in.")

    #: What is common to the accounts of the other ways beside this one (`kind`)
    others: frozenset[str] = frozenset()

    #: The users table, where that is another way beside this one
    table: Any = None

    @default("any_allow_config")
    def _any_allow_config_default(self) -> bool:
        # in the file, where JupyterHub does not look
        return True

    @default("auth_refresh_age")
    def _auth_refresh_age_default(self) -> int:
        return 60

    @default("refresh_pre_spawn")
    def _refresh_pre_spawn_default(self) -> bool:
        return True

    @default("auth_refresh_strict")
    def _auth_refresh_strict_default(self) -> bool:
        # Or tokens, and with them the pages of running servers, would outlive a disabled user.
        return True

    @cached_property
    def rules(self) -> RulesFile:
        """The rules of the settings."""
        return RulesFile(Path(self.rules_file))

    @cached_property
    def marks(self) -> Marks:
        """The state of each account as the Hub last saw it."""
        return Marks(Path(self.marks_file))

    def called(self, name: str) -> str:
        """What the rules call somebody, or a group, of this way to log in."""
        return f"{self.way}:{name}" if self.way else name

    def changes_passwords(self, name: str) -> bool:
        """Whether somebody's password can be changed here."""
        return False

    @property
    def groups_that_count(self) -> frozenset[str]:
        """Groups of this way's for which the rules say something, as it calls them itself."""
        sign = self.called("")
        groups = (group for group in self.rules.now.groups if group.startswith(sign))
        return frozenset(group.removeprefix(sign) for group in groups)

    def groups_of(self, user: Any) -> set[str]:
        """The groups, as the rules call them, in which the provider has a user of the Hub's."""
        # where the Hub's admins make groups, those are none of the provider's
        return {group.name for group in user.groups} if self.manage_groups else set()

    def refuse_whose_name_is_anothers(self, name: str) -> None:
        """Keep the account of who logs in another way: there may be two people of one name.

        Raises HTTPError: 403 in words.
        """
        account = account_of(self.marks.get(name))
        if account and kind_of(account) in self.others:
            self._refuse(
                f"{name!r} is the name of somebody who logs in here another way. If that is you, "
                "log in that way; if not, ask the people who run this service for another name."
            )

    def _refuse(self, why: str) -> NoReturn:
        self.log.warning("Refused a login: %s", why)
        raise web.HTTPError(403, f"You cannot log in here: {why}")

    def normalize_username(self, username: str) -> str:
        """Lower-case, as all names are."""
        return normalised(username)

    def check_blocked_users(self, username: str, authentication: Any = None) -> bool:
        if self.rules.now.blocks(username):
            return False
        return bool(super().check_blocked_users(username, authentication))


class Answer(NamedTuple):
    """What a provider said of somebody: when (time.monotonic), and whether they may stay."""

    at: float
    stays: bool


class MayStay(Ruled):
    """Asks the provider of people's accounts again and again, and applies the rules each time.

    Comes before an authenticator of JupyterHub's among the bases of a class, which has
    `kind`, `identity` and `ask`.
    """

    #: For the page of who is known and may not
    who_knows = ""

    @property
    def kind(self) -> str:
        """What is common to the accounts of this provider alone: letters, digits and _."""
        raise NotImplementedError

    def identity(self, found: dict[str, Any]) -> str:
        """What the provider never gives to somebody else, of what `authenticate` returns."""
        raise NotImplementedError

    async def ask(self, user: Any, handler: Any) -> dict[str, Any] | None:
        """What `authenticate` would return for somebody now; None for whom the provider refuses.

        Raises AwayError where it does not answer, and UnaskableError where it cannot be asked
        until the next login.
        """
        raise NotImplementedError

    @cached_property
    def _answers(self) -> dict[str, Answer]:
        return {}

    @cached_property
    def _locks(self) -> dict[str, asyncio.Lock]:
        return defaultdict(asyncio.Lock)

    #: The moment (time.monotonic) until which it is left alone
    _away_until = 0.0

    @cached_property
    def _places(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(AT_ONCE)

    async def authenticate(self, handler: Any, data: Any = None, **options: Any) -> Any:
        """Who logs in, by the Hub's name and as an admin where the rules say so.

        Raises HTTPError: 403 for a name that cannot be one here, or is somebody else's.
        """
        found = await super().authenticate(handler, data, **options)
        if not found:
            return found
        described = self._in_our_terms(found)
        await self._refuse_whom_the_table_has(described["name"], self._account(found))
        return described

    def _account(self, found: dict[str, Any]) -> str:
        digest = hashlib.sha256(self.identity(found).encode()).hexdigest()[:20]
        return f"{self.kind}.{digest}"

    def _in_our_terms(self, found: dict[str, Any]) -> dict[str, Any]:
        rules, given = self.rules.now, normalised(found["name"])
        name = rules.names.get(self.called(given), given)
        if not is_username(name):
            self._refuse(
                f"{given!r} cannot be a name here: letters, digits and . _ @ - alone, 64 at most. "
                "`hub_username_map` gives somebody another one."
            )
        if self.called(given) not in rules.names and name in rules.names.values():
            self._refuse(f"{name!r} is somebody else's, by `hub_username_map`.")
        self._refuse_another(name, self._account(found))
        groups = rules.groups.intersection(map(self.called, found.get("groups") or ()))
        if "groups" in found:
            found["groups"] = sorted(groups)
        return {**found, "name": name, "admin": rules.is_admin(self.called(name), groups)}

    def _refuse_another(self, name: str, account: str) -> None:
        mark = self.marks.get(name)
        self.refuse_whose_name_is_anothers(name)
        if is_left_over(mark, account):
            raise StillEnding
        if is_another(account, account_of(mark)):
            self._refuse(
                f"{name!r} is the name of another account of the same provider, which logged in "
                "before. If that is gone, remove the user on the Hub's admin page."
            )

    async def _refuse_whom_the_table_has(self, name: str, account: str) -> None:
        """Keep a name for somebody of the users table who has not come yet; it is declared there.

        Whose it is already, or is by `hub_username_map`, has it.
        """
        theirs = account_of(self.marks.get(name)) == account
        if not self.table or theirs or name in self.rules.now.names.values():
            return
        if await self.table.has(name):
            self._refuse(
                f"{name!r} is the name of somebody of the users table. If that is you, log in with "
                "your password; if not, ask the people who run this service for another name."
            )

    async def _refuse_who_may_not(self, found: dict[str, Any]) -> None:
        """Where JupyterHub's own page has no words; `found` is in our terms. 403 (HTTPError)."""
        name = found["name"]
        if self.check_blocked_users(name, found) and (
            self.allow_all or await self.check_allowed(name, found)
        ):
            return
        self.log.warning("User %r may not log in by the rules", name)
        raise web.HTTPError(
            403,
            f"{self.who_knows} knows you, but you may not use this service. If you should, ask "
            "the people who run it.",
        )

    def admits(self, name: str, authentication: Any = None) -> bool:
        """Whether the rules let somebody in, as `authenticate` describes them."""
        groups = (authentication or {}).get("groups") or ()
        return self.rules.now.admits(self.called(name), groups, self.way)

    async def check_allowed(self, username: str, authentication: Any = None) -> bool:
        """Whether the rules or the provider's own let somebody in."""
        if self.admits(username, authentication):
            return True
        return bool(await maybe_future(super().check_allowed(username, authentication)))

    async def run_post_auth_hook(self, handler: Any, auth_model: Any) -> Any:
        """Note down whose the name is from now on."""
        name, account = auth_model["name"], self._account(auth_model)
        # another may have come by that name meanwhile
        self._refuse_another(name, account)
        self.marks.set({name: f"{account}-in"})
        self._answers[name] = Answer(time.monotonic(), True)
        return await super().run_post_auth_hook(handler, auth_model)

    async def account(self, name: str) -> str | None:
        """What tells an account from the next one of its name; None where that is not known."""
        return account_of(self.marks.get(name)) or None

    async def refresh_user(self, user: Any, handler: Any = None, **options: Any) -> bool:
        """Whether somebody may go on; what the provider says of them is kept.

        Who never logged in, but was made by the API, may unless blocked. Who cannot be asked about
        has to log in again for whatever they want of the Hub; what runs goes on.
        """
        may_refuse(handler)
        if not self._may_by_the_rules(user.name):
            return False
        if not account_of(self.marks.get(user.name)):
            return True
        async with self._locks[user.name]:
            last = self._answers.get(user.name)
            if last is None or time.monotonic() - last.at >= FRESH:
                try:
                    async with self._places:
                        if time.monotonic() < self._away_until:
                            return True
                        stays = await self._asked(user, handler)
                except AwayError as error:
                    self._away_until = time.monotonic() + PAUSE
                    self.log.warning("Keeping the session of %s: %s", user.name, error.why)
                    return True
                except UnaskableError as error:
                    self.log.info("%s has to log in again: %s", user.name, error)
                    return handler is None
                last = self._answers[user.name] = Answer(time.monotonic(), stays)
            return last.stays

    async def _look(self, user: Any) -> tuple[str, bool]:
        """Somebody's name, and whether they may go on; nobody is looked at less for an error."""
        try:
            return user.name, await self.refresh_user(user)
        except Exception:
            self.log.exception("Keeping the session of %s", user.name)
            return user.name, True

    def _may_by_the_rules(self, name: str) -> bool:
        """What can be said without asking anybody."""
        account = account_of(self.marks.get(name))
        # a session by another provider of before is none
        return not self.rules.now.blocks(name) and (not account or kind_of(account) == self.kind)

    async def _asked(self, user: Any, handler: Any) -> bool:
        found = await self.ask(user, handler)
        if found is None:
            return False
        try:
            found = self._in_our_terms(found)
            if found["name"] != user.name:
                self._refuse(f"{user.name!r} has another name by now, {found['name']!r}.")
            if not self.check_blocked_users(user.name, found):
                return False
            if not (self.allow_all or await self.check_allowed(user.name, found)):
                return False
        except AwayError:
            raise
        except web.HTTPError:
            return False
        await self._keep(user, found)
        return True

    async def _keep(self, user: Any, found: dict[str, Any]) -> None:
        """As BaseHandler.auth_to_user of JupyterHub does after a login."""
        if found["admin"] != user.admin:
            user.admin = found["admin"]
            roles.assign_default_roles(user.db, entity=user.orm_user)
        if self.manage_groups:
            user.sync_groups(found["groups"])
        if found["auth_state"] != await user.get_auth_state():
            await user.save_auth_state(found["auth_state"])

    async def standing(self, names: Iterable[str], active: Collection[Any]) -> dict[str, str]:
        """The mark of each account; the provider is asked of those in `active`, users of the Hub's.

        The others ask for something before they get anything.
        """
        stay = dict(await asyncio.gather(*(self._look(user) for user in active)))
        return {
            name: f"{account_of(self.marks.get(name)) or ''}-"
            + ("in" if stay.get(name, self._may_by_the_rules(name)) else "")
            for name in names
        }
