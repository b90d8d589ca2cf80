"""Who is next where only so much is done at once: each source in its turn."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FullError(Exception):
    """Too many are waiting already."""


class Turns:
    """Places that are given in turn to each source which waits, whichever asked more often.

    Who floods waits for nobody but themselves: another source is next after at most one turn of
    each that waits. For one event loop.

    :param places: that are taken at the same time, at most.
    :param waiting: that may wait, of all sources together.
    :param waiting_of_one: that may wait, of one source.
    """

    def __init__(self, places: int, waiting: int, waiting_of_one: int) -> None:
        self._free = places
        self._limits = waiting, waiting_of_one
        self._waiting = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[None]:
        """Hold a place.

        :raises FullError: at once, where too many are waiting, of this source or of all.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(source)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, source: str) -> None:
        all_together, of_one = self._limits
        if self._waiting >= all_together or len(self._queues.get(source, ())) >= of_one:
            raise FullError
        mine = asyncio.get_running_loop().create_future()
        self._queues.setdefault(source, deque()).append(mine)
        self._waiting += 1
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                # the place was this one's already
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give a place to the source whose turn it is, or have it free."""
        while self._queues:
            source, queue = self._queues.popitem(last=False)
            next_one = queue.popleft()
            self._waiting -= 1
            if queue:
                # behind all others
                self._queues[source] = queue
            if not next_one.done():
                next_one.set_result(None)
                return
        self._free += 1
