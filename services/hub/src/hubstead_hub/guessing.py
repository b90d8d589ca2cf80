"""A form with a name and a password: few guesses, and a fair place for each who waits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import Any, ParamSpec, TypeVar

from jupyterhub.auth import Authenticator
from tornado import web
from traitlets import Integer, Unicode, default

from hubstead_hub.later import TryLater
from hubstead_userdb.throttle import Throttle, source
from hubstead_userdb.turns import FullError, Turns

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def number(default: int, help: str, min: int, max: int | None = None) -> Integer[int, int]:
    """A trait that the Hub's configuration may set."""
    return Integer(default, min=min, max=max, help=help).tag(config=True)


async def in_thread(
    executor: ThreadPoolExecutor,
    work: Callable[Arguments, Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Result:
    """What `work` returns, which blocks, while the Hub goes on."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(executor, lambda: work(*args, **kwargs))


class Guessing(Authenticator):
    """Limits how often passwords are guessed, and how many are checked at the same time."""

    password_threads = Integer(min=1, help="Passwords that are checked at the same time.").tag(
        config=True
    )

    @default("password_threads")
    def _password_threads_default(self) -> int:
        return os.cpu_count() or 1

    password_queue = number(
        2000, "Passwords that may wait for a check; beyond it the answer is 503.", min=1
    )

    password_queue_of_one = number(
        500, "Of these, passwords from one address (of IPv6: a /64), which waits for itself.", min=1
    )

    throttle_window = number(300, "Seconds for which a failed attempt to log in counts.", min=1)

    throttle_failures = number(
        10, "Failed attempts for one name from one address before it has to wait.", min=1
    )

    throttle_address_failures = number(
        500, "Failed attempts from one address, over all names, before it has to wait.", min=1
    )

    servers_network = Unicode(
        help="Network of the users' servers, such as 172.30.0.0/16; its first address is this "
        "host. A login from any other is known by that address, whatever X-Forwarded-For or "
        "X-Real-IP says. Empty: everyone who reaches the Hub is believed, as JupyterHub does."
    ).tag(config=True)

    @cached_property
    def throttle(self) -> Throttle:
        """The failed attempts of the last minutes."""
        return Throttle(
            self.throttle_window, self.throttle_failures, self.throttle_address_failures
        )

    @cached_property
    def _password_executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.password_threads, "passwords")

    @cached_property
    def _turns(self) -> Turns:
        return Turns(self.password_threads, self.password_queue, self.password_queue_of_one)

    async def guess(
        self, handler: Any, name: str, check: Callable[[str], Awaitable[Result | None]]
    ) -> Result | None:
        """Whom `check` finds, or None for a wrong name or password, which counts as a guess.

        It is told whose attempt it is, for `in_turn`.

        :raises HTTPError: 429 after too many failures; and what `check` raises, which is no guess.
        """
        address = self._address(handler.request)
        wait = self.throttle.admit(name, address)
        if wait:
            self.log.warning("Too many failed attempts from %s, refusing for %ss", address, wait)
            minutes = -(-wait // 60)
            raise TryLater(
                429,
                "Too many failed attempts to log in. "
                f"Try again in {minutes} minute{'s' if minutes > 1 else ''}.",
                wait,
            )
        try:
            found = await check(source(address))
        except web.HTTPError:
            # Nobody guessed: the database was down, or too many were waiting.
            self.throttle.aborted(name, address)
            raise
        if found is not None:
            self.throttle.succeeded(name, address)
        return found

    def _address(self, request: Any) -> str:
        """Where an attempt to log in comes from."""
        if self.servers_network:
            # of the connection itself, which tornado keeps beside what the headers say
            peer = ip_address(request.connection.context.address[0])
            network = ip_network(self.servers_network)
            if peer in network and peer != network[1]:
                return str(peer)
        return str(request.remote_ip)

    async def in_turn(
        self,
        whose: str,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """What `work` returns in a thread, once it is the turn of `whose`.

        :raises HTTPError: 503 where too many are waiting.
        """
        async with self.turn(whose):
            return await in_thread(self._password_executor, work, *args, **kwargs)

    @asynccontextmanager
    async def turn(self, whose: str) -> AsyncIterator[None]:
        """Hold one of the places for passwords, once it is the turn of `whose`.

        :raises HTTPError: 503 where too many are waiting.
        """
        try:
            async with self._turns.async_turn(whose):
                yield
        except FullError as error:
            raise TryLater(
                503, "Too many people are logging in right now. Please try again in a minute.", 30
            ) from error
