"""Sessions end when they have to, also those of who asks for nothing.

JupyterHub looks at an account when one of its sessions asks for something
(Authenticator.refresh_user). A running server and what is open in it ask for nothing, the tokens of
a user who was removed are those of the next one of that name, and a copied login cookie is as good
after a logout as before.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyterhub import app as jupyterhub_app
from jupyterhub import orm, utils
from sqlalchemy.exc import SQLAlchemyError
from tornado.ioloop import PeriodicCallback

from hubstead_userdb.errors import one_line
from hubstead_userdb.table import User

#: Not typed, and to be changed here
_JupyterHub: Any = jupyterhub_app.JupyterHub
_new_token: Any = utils.new_token

#: Seconds from one look to the next; a server has 30 to end in, and a minute is what is promised
INTERVAL = 15

#: Who left for good, by name, with the moment in seconds since the epoch (programs/offboard.py)
LEFT = Path("/etc/hubstead/hub-left.json")

#: Called with each user of the Hub whose account is gone, and the account's number where it is
#: known, once nothing of theirs runs
LEAVING: list[Callable[[Any, str | None], Awaitable[None]]] = []


def mark_of(user: User) -> str:
    """What stands for the state of an account in Marks."""
    # a few digits: enough to tell one hash from the next, too few to try passwords with
    digits = hashlib.sha256(user.password_hash.encode()).hexdigest()[:8]
    return f"{user.id}-{digits if user.enabled and not user.must_change_password else ''}"


def account_of(mark: str | None) -> str | None:
    """What stands for the account, where there is a mark: a number of the table, or KIND.ID."""
    return mark.split("-")[0] if mark else None


def kind_of(account: str) -> str:
    """Whose accounts it is one of: those of a provider, or (nothing) of the users table."""
    return account.rpartition(".")[0]


def is_another(account: str | None, former: str | None) -> bool:
    """Whether a name has come to somebody else.

    Accounts of two providers are not compared: who changes the way to log in says by that whose
    names they are.
    """
    if not account or not former or kind_of(account) != kind_of(former):
        return False
    return account != former


def is_shut(mark: str) -> bool:
    """Whether the account may have no session at present."""
    return mark.endswith("-")


def is_left_over(mark: str | None, account: str) -> bool:
    """Whether the name's sessions are still those by another way to log in, and end soon."""
    former = account_of(mark)
    if not mark or not former or is_shut(mark):
        return False
    return kind_of(former) != kind_of(account)


class Marks:
    """The state of each account as the Hub last saw it, kept in a file between its runs.

    A mark is the account, a dash, and what stands for its password, or nothing where it may have
    no session. Where that is another, the sessions of before are over. Who has no mark yet begins
    with that of the login, or with the one that is seen first.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._marks: dict[str, str] = {}
        #: Held by whoever changes an account, or compares it, together with its mark
        self.lock = asyncio.Lock()
        # as good as none: one that a power cut left half
        with suppress(FileNotFoundError, ValueError):
            self._marks = dict(json.loads(file.read_text()))

    def get(self, name: str) -> str | None:
        return self._marks.get(name)

    def names(self) -> set[str]:
        return set(self._marks)

    def set(self, marks: Mapping[str, str | None]) -> None:
        """Keep these; None: forget."""
        now = {**self._marks, **marks}
        kept = {name: mark for name, mark in now.items() if mark is not None}
        if kept == self._marks:
            return
        self._marks = kept
        new = self._file.with_suffix(".new")
        # on a full disk people still log in, and only a Hub that restarts does not know
        with suppress(OSError):
            new.write_text(json.dumps(kept))
            new.replace(self._file)


def left() -> Mapping[str, float]:
    """Who left for good, and when: whoever has the name since is somebody else."""
    try:
        return dict(json.loads(LEFT.read_text()))
    except (OSError, ValueError):
        # nobody did, or there is no telling
        return {}


def _was_there(created: datetime | None, moment: float) -> bool:
    """Whether the Hub had a user before; it notes times of UTC, without saying so."""
    return created is not None and created.replace(tzinfo=UTC).timestamp() < moment


class Ends:
    """Ends what is over; the authenticator has `standing` and `marks`."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._authenticator = app.authenticator

    async def look(self) -> None:
        """Compare every user of the Hub with the accounts, and end what is over."""
        try:
            over = await self._over()
            await asyncio.gather(*(self._end(name, *marks) for name, marks in over.items()))
        except SQLAlchemyError as error:
            self._app.db.rollback()
            self._app.log.warning("Keeping all sessions: %s", one_line(error))
        except Exception:
            self._app.log.exception("Not all sessions were looked at; again in %s s", INTERVAL)

    async def _over(self) -> dict[str, tuple[str | None, str | None]]:
        """Whose sessions are over: the accounts' marks, None for no such account, and of before."""
        marks = self._authenticator.marks
        async with marks.lock:
            # who logs in from here on is another look's to judge
            known = {name: marks.get(name) for name in marks.names()}
            created = dict(iter(self._app.db.query(orm.User.name, orm.User.created)))
            names = list(created)
            active = [user for user in self._app.users.values() if user.active]
            standing = await self._authenticator.standing(names, active)
            if not standing:
                # not to be told from a table that was lost, and nobody could log in anyway
                return {}
            now = {name: standing.get(name) or self._shut(known.get(name)) for name in names}
            over: dict[str, tuple[str | None, str | None]] = {}
            told = left()
            for name, mark in now.items():
                before = known.get(name)
                another = is_another(account_of(mark), account_of(before))
                if another or _was_there(created[name], told.get(name, 0)):
                    over[name] = None, before
                elif mark is None or is_shut(mark) or before not in (None, mark):
                    over[name] = mark, before
            seen = {name: mark for name, mark in now.items() if name not in over}
            # accounts that are gone, and that the Hub has nothing of
            gone = {
                name: None
                for name in known.keys() - now.keys()
                if account_of(known[name]) != account_of(standing.get(name))
            }
            news = {**seen, **gone}
            marks.set({n: mark for n, mark in news.items() if marks.get(n) == known.get(n)})
            return over

    @staticmethod
    def _shut(mark: str | None) -> str | None:
        """For who is not in the users table: whoever came by another provider never was."""
        account = account_of(mark)
        return f"{account}-" if account and kind_of(account) else None

    async def _end(self, name: str, mark: str | None, known: str | None) -> None:
        """End cookies, tokens and servers; what cannot be ended now is at the next look.

        + known: the account's mark when that was found to be over.
        """
        db, marks = self._app.db, self._authenticator.marks
        user = self._app.users.get(name)
        if user is None or marks.get(name) != known:
            return
        tokens = db.query(orm.APIToken).filter_by(user_id=user.id).all()
        running = [spawner for spawner in user.spawners.values() if spawner.active]
        if tokens or running or mark is None or mark != marks.get(name):
            self._app.log.warning("Ending all sessions of %s", name)
            user.orm_user.cookie_id = _new_token()
            for token in tokens:
                db.delete(token)
            db.commit()
        if any(spawner.pending for spawner in running):
            return
        for spawner in running:
            await self._app.proxy.delete_user(user, spawner.name)
            await user.stop(spawner.name)
        if marks.get(name) != known:
            return
        if mark is None:
            for leave in LEAVING:
                await leave(user, account_of(marks.get(name)))
            # with what the next one of that name should not get: groups, shares
            await user.delete_spawners()
            self._app.users.delete(user)
        marks.set({name: mark})


def end_sessions_of_who_left() -> None:
    """Look at all accounts every INTERVAL seconds, from when the Hub has started."""
    start = _JupyterHub.start

    async def started(app: Any) -> None:
        await start(app)
        # an owner's lines may have chosen another
        if hasattr(app.authenticator, "standing"):
            PeriodicCallback(Ends(app).look, INTERVAL * 1000).start()

    _JupyterHub.start = started


def end_browsers(db: Any, user: Any, besides: str | None = None) -> None:
    """End the sessions of a user's browsers, with the Hub and with servers.

    Tokens that the user made go on; so does the browser session `besides`, with servers.
    """
    # each login cookie of the user holds this
    user.orm_user.cookie_id = _new_token()
    for token in db.query(orm.APIToken).filter(
        orm.APIToken.user_id == user.id, orm.APIToken.session_id.is_not(None)
    ):
        if token.session_id != besides:
            db.delete(token)
    db.commit()
