"""What stops servers that are idle or old: JupyterHub's idle culler, which waits for reports.

    python -m hubstead_hub.culling --timeout=LIMIT --max-age=LIMIT --every=SECONDS --reports=SECONDS
        [--users]

With `--users` it removes people, too, who have no server and were idle for as long, but no admins.

The Hub knows of a server's activity what the server reported last, every `--reports` seconds. Who
is idle by that may be at work since, and after the Hub was away everybody is.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

#: Seconds that a look may be late by where nothing was away
SLOW = 15


class Arbiter:
    """An ``IdleCuller.cull_arbiter_hook``: whether a server has surely been idle for that long.

    + every: seconds from one look to the next; half of that longer, or `SLOW` seconds, are a
      busy machine's.
    + reports: seconds from one report to the next; servers vary that by a tenth, and try again
      every 15 seconds while the Hub does not answer (JupyterHub's exponential_backoff).
    """

    def __init__(
        self, every: float, reports: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._longest = clock, every + max(every / 2, SLOW)
        #: as old as a report can be, where the Hub was away between two looks at the most
        self.late = self._longest + 1.1 * reports + 15
        self._looked: float | None = None
        self._trusted = 0.0

    def __call__(
        self, *, inactive: timedelta, inactive_limit: int, server: Mapping[str, Any], **_: Any
    ) -> bool:
        now = self._clock()
        if self._looked is None or now - self._looked > self._longest:
            # a look is missing: the Hub, its database or this program was away
            self._trusted = now + self.late
        self._looked = now
        # of its owner (hubstead_hub.groups); 0 for never
        limit = server.get("idle_timeout", inactive_limit)
        idle = bool(limit) and inactive.total_seconds() >= limit + self.late
        return now >= self._trusted and idle


def main() -> None:
    """Run until the Hub ends it, or starts it anew."""
    from jupyterhub_idle_culler import IdleCuller

    parser = argparse.ArgumentParser()
    for name in ("--timeout", "--max-age", "--every", "--reports"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--users", action="store_true")
    given = parser.parse_args()
    IdleCuller.launch_instance(
        argv=[],
        config_file="",
        timeout=given.timeout,
        max_age=given.max_age,
        cull_every=given.every,
        cull_users=given.users,
        cull_admin_users=False,
        cull_arbiter_hook=Arbiter(given.every, given.reports),
    )


if __name__ == "__main__":
    main()
