"""Who is next where only so much is done at once: each source in its turn, at any login page."""

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager


class FullError(Exception):
    """Too many are waiting already."""


class Turns:
    """Places that are given in turn to each source which waits, whichever asked more often.

    Who floods waits for nobody but themselves: another source is next after at most one turn of
    each that waits. Thread-safe.

    :param places: that are taken at the same time, at most.
    :param waiting: that may wait, of all sources together.
    :param waiting_of_one: that may wait, of one source.
    """

    def __init__(self, places: int, waiting: int, waiting_of_one: int) -> None:
        self._free = places
        self._limits = waiting, waiting_of_one
        self._waiting = 0
        self._queues: OrderedDict[str, deque[Future[None]]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, source: str) -> Iterator[None]:
        """Hold a place, for which this thread waits.

        :raises FullError: at once, where too many are waiting, of this source or of all.
        """
        self._ask(source).result()
        try:
            yield
        finally:
            self._pass_on()

    @asynccontextmanager
    async def async_turn(self, source: str) -> AsyncIterator[None]:
        """The same, for which a task waits.

        :raises FullError: as ``turn`` does.
        """
        mine = self._ask(source)
        try:
            await asyncio.wrap_future(mine)
        except asyncio.CancelledError:
            if not mine.cancel():
                # the place was this one's already
                self._pass_on()
            raise
        try:
            yield
        finally:
            self._pass_on()

    def _ask(self, source: str) -> Future[None]:
        """What is done when a place is this one's."""
        mine: Future[None] = Future()
        all_together, of_one = self._limits
        with self._lock:
            if self._free:
                self._free -= 1
                mine.set_result(None)
                return mine
            if self._waiting >= all_together or len(self._queues.get(source, ())) >= of_one:
                raise FullError
            self._queues.setdefault(source, deque()).append(mine)
            self._waiting += 1
        return mine

    def _pass_on(self) -> None:
        """Give a place to the source whose turn it is, or have it free."""
        with self._lock:
            while self._queues:
                source, queue = self._queues.popitem(last=False)
                next_one = queue.popleft()
                self._waiting -= 1
                if queue:
                    # behind all others
                    self._queues[source] = queue
                # not of who gave up meanwhile
                if next_one.set_running_or_notify_cancel():
                    break
            else:
                self._free += 1
                return
        next_one.set_result(None)
