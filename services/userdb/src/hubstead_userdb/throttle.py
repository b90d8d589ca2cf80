"""A limit on guessing passwords, kept in memory, for any login page.

Failures are counted for a name from an address (of IPv6: from a /64), and for an address alone with
a much higher limit: a class behind one NAT address makes many mistakes together, and no one can
lock a user out from somewhere else.
"""

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

_Key = tuple[str, ...]


def source(address: str) -> str:
    """Whose attempts count together: of an IPv6 address its /64, of which a host has all addresses.

    (RFC 4291, 2.5.4: 64 bits name the interface; RFC 8981: a host changes them as it likes.)
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)


class Throttle:
    """Sliding-window counters of failed attempts. Thread-safe, and bounded in memory.

    An attempt counts as failed from the moment it is admitted until ``succeeded`` or ``aborted``
    takes it back, so that a thousand attempts at the same time are no way around the limit.

    :param window: seconds for which a failure counts.
    :param failures: failures of one name from one address before that pair has to wait.
    :param address_failures: failures from one address, whatever the name, before it has to wait.
    :param max_keys: counters kept; beyond it the least recently used are forgotten.
    :param clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        window: float = 300,
        failures: int = 10,
        address_failures: int = 500,
        max_keys: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window = window
        self._limit = {2: failures, 1: address_failures}
        self._max_keys = max_keys
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[_Key, deque[float]] = OrderedDict()

    def admit(self, name: str, address: str) -> int:
        """Count an attempt and return 0; or, over a limit, the seconds to wait, uncounted."""
        now = self._clock()
        with self._lock:
            counters = [self._counter(key, now) for key in self._keys(name, address)]
            full = [
                times[-limit] + self._window - now
                for times, limit in counters
                if len(times) >= limit
            ]
            if full:
                return max(1, math.ceil(max(full)))
            for times, _ in counters:
                times.append(now)
            while len(self._failed) > self._max_keys:
                self._failed.popitem(last=False)
            return 0

    def succeeded(self, name: str, address: str) -> None:
        """The admitted attempt was right: forget the name's failures, and this one of the address.

        Not all of the address's, or one's own account would be a way to go on guessing others'.
        """
        self._take_back(name, address)
        with self._lock:
            self._failed.pop(self._keys(name, address)[0], None)

    def aborted(self, name: str, address: str) -> None:
        """The admitted attempt was neither right nor wrong: do not count it."""
        self._take_back(name, address)

    def _take_back(self, name: str, address: str) -> None:
        with self._lock:
            for key in self._keys(name, address):
                if self._failed.get(key):
                    self._failed[key].pop()

    def _keys(self, name: str, address: str) -> tuple[_Key, _Key]:
        # Cut: a name may be megabytes of nonsense, and would be kept.
        whose = source(address)
        return (name[:64], whose), (whose,)

    def _counter(self, key: _Key, now: float) -> tuple[deque[float], int]:
        times = self._failed.setdefault(key, deque())
        self._failed.move_to_end(key)
        while times and times[0] <= now - self._window:
            times.popleft()
        return times, self._limit[len(key)]
