"""Several ways to log in at once: one form at most, and a button for each provider beside it.

Each way is the authenticator that it is alone, whose handlers have it as theirs, as
jupyterhub-multiauthenticator 0.4.0 does it; that one asks none of them again about people, and
knows no account from another of its name. Here the mark that a login leaves
(hubstead_hub.sessions.Marks) says of each name by which way it came: that way is asked whether the
person may stay, and every other one refuses the name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Any

from jupyterhub.handlers.login import LoginHandler
from jupyterhub.utils import url_path_join
from tornado import web
from tornado.httputil import url_concat
from traitlets import List, Tuple, Unicode
from traitlets.utils.importstring import import_item

from hubstead_hub.handlers import EverywhereLogoutHandler
from hubstead_hub.may_stay import Ruled, may_refuse
from hubstead_hub.sessions import account_of, kind_of


class LoginPage(LoginHandler):
    """The login page: comes before the handler of the form, where there is one, among the bases."""

    def _render(self, login_error: Any = None, username: Any = None, **options: Any) -> Any:
        several, wanted = self.settings["authenticator"], self.get_argument("next", "")
        buttons = [
            (way.login_service, url_concat(way.login_url(self.hub.base_url), {"next": wanted}))
            for way in several.buttons
        ]
        options |= {"form": several.form is not None, "buttons": buttons}
        return super()._render(login_error, username, **options)


class ButtonsHandler(LoginPage):
    """The same without a form."""

    async def post(self) -> None:
        raise web.HTTPError(405)


class LeadingLogoutHandler(EverywhereLogoutHandler):
    """Leads to the logout of the way by which somebody logged in."""

    async def get(self) -> None:
        way = self.current_user and self.authenticator.of(self.current_user.name)
        if way:
            self.redirect(url_path_join(self.hub.base_url, "logout", way.way))
        else:
            await super().get()


class OwnLogout:
    """For people of one way alone: what a provider said of somebody is for no other one."""

    current_user: Any
    authenticator: Any
    settings: Any
    redirect: Any

    async def get(self) -> None:
        user = self.current_user
        if user and self.settings["authenticator"].of(user.name) is not self.authenticator:
            self.redirect(self.settings["logout_url"])
        else:
            await super().get()  # type: ignore[misc]


class Several(Ruled):
    """People of several ways to log in, each of them asked about its own."""

    ways = List(
        Tuple(Unicode(), Unicode()),
        help="What the settings call each way, and its class; the login page has them in this "
        "order.",
    ).tag(config=True)

    def __init__(self, **options: Any) -> None:
        # nobody is led on where there is a choice
        super().__init__(**options, auto_login=False, auto_login_oauth2_authorize=False)

    @cached_property
    def children(self) -> tuple[Any, ...]:
        """The ways, which share what the Hub knows of accounts."""
        made = [
            import_item(path)(parent=self, way=way, auto_login=False) for way, path in self.ways
        ]
        table = next((child for child in made if not child.kind), None)
        for child in made:
            child.rules, child.marks = self.rules, self.marks
            child.others = frozenset(each.kind for each in made if each is not child)
            child.table = table if child is not table else None
        return tuple(made)

    @property
    def form(self) -> Any:
        """The way with a name and a password, or None."""
        return next((child for child in self.children if not child.login_service), None)

    @property
    def buttons(self) -> list[Any]:
        """The ways that lead to a provider."""
        return [child for child in self.children if child.login_service]

    def of(self, name: str) -> Any:
        """The way by which the name's account logged in.

        None where it never did, or by one that is none any more.
        """
        account = account_of(self.marks.get(name))
        if not account:
            return None
        return next((each for each in self.children if each.kind == kind_of(account)), None)

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Those of each way, and the pages that they have in common."""
        found: list[tuple[str, type]] = [("/logout", LeadingLogoutHandler)]
        if self.form is None:
            found.append(("/login", ButtonsHandler))
        for child in self.children:
            for path, handler in child.get_handlers(app):
                at, bases = path, [handler]
                if path == "/logout":
                    at, bases = f"/logout/{child.way}", [OwnLogout, handler]
                elif path == "/login":
                    bases = [LoginPage, handler]
                found.append((at, type(handler.__name__, tuple(bases), {"authenticator": child})))
        return found

    async def account(self, name: str) -> str | None:
        """What tells an account from the next one of its name; None where that is not known."""
        way = self.of(name)
        return await way.account(name) if way else None

    def changes_passwords(self, name: str) -> bool:
        way = self.of(name)
        return bool(way and way.changes_passwords(name))

    def groups_of(self, user: Any) -> set[str]:
        way = self.of(user.name)
        return way.groups_of(user) if way else set()

    async def refresh_user(self, user: Any, handler: Any = None) -> Any:
        """As the way says by which somebody logged in.

        Who never did, but was made by the API, may go on unless blocked; who did by a way that is
        none any more may not.
        """
        way = self.of(user.name)
        if way:
            return await way.refresh_user(user, handler)
        may_refuse(handler)
        return not (self.rules.now.blocks(user.name) or account_of(self.marks.get(user.name)))

    async def standing(self, names: Iterable[str], active: Collection[Any]) -> dict[str, str]:
        """The mark of each account, as its own way says.

        A name without one is the users table's, where that has it: who is there by an earlier
        version, or was made by the API.
        """
        names = list(names)
        accounts = {name: account_of(self.marks.get(name)) for name in names}
        whose = {name: self.of(name) for name in {*names, *self.marks.names()}}
        looks = (
            child.standing(
                [name for name in names if whose[name] is child],
                [user for user in active if whose.get(user.name) is child],
            )
            for child in self.children
        )
        found: dict[str, str | None] = {}
        for child, said in zip(self.children, await asyncio.gather(*looks), strict=True):
            own = [name for name, way in whose.items() if way is child]
            if not said and not child.kind:
                # the users table cannot be read, and nobody is to lose anything by that
                said = {name: self.marks.get(name) for name in own}
            unmarked = [name for name in names if not accounts[name]]
            found |= {name: said[name] for name in (*own, *unmarked) if name in said}
        blocks = self.rules.now.blocks
        for name in names:
            if whose[name] is None:
                stays = "" if accounts[name] or blocks(name) else "in"
                found.setdefault(name, f"{accounts[name] or ''}-{stays}")
        return {name: mark for name, mark in found.items() if mark}
