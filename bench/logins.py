"""100 people log in at once, while others go on working: ``python -m bench.logins``.

A real PostgreSQL and gunicorn on this machine, bcrypt at the cost of a deployment. It measures and
prints; whether all get in is what tests/unit/login asserts.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.kit import userdb
from tests.unit.login.conftest import LoginService, Visitor

PEOPLE = 100
#: As a deployment has it by default
COST = "12"


@contextmanager
def login_service(directory: Path) -> Iterator[LoginService]:
    """The login with its database and people p0, p1, ... and ada, who is at work."""
    with userdb.throwaway_cluster() as cluster:
        hub_users = userdb.users_table(cluster, directory, "userdb")
        hub_users.ok("add", "ada", "--password-stdin", "--bcrypt-cost", COST, stdin=userdb.PASSWORD)
        # With ada's hash: making a hundred would take as long as what is measured.
        with hub_users.owner() as owner:
            owner.execute(
                "INSERT INTO users (username, password_hash) SELECT 'p' || number, password_hash"
                " FROM users, generate_series(0, %s) AS number",
                [PEOPLE - 1],
            )
        service = LoginService(hub_users, directory, HUBSTEAD_LOGIN_BCRYPT_COST=COST)
        try:
            service.wait()
            yield service
        finally:
            service.stop()


def timed(work: Callable[[], int]) -> tuple[float, int]:
    """Seconds that the work takes, and the status it returns."""
    start = time.perf_counter()
    status = work()
    return time.perf_counter() - start, status


def report(what: str, results: list[tuple[float, int]]) -> None:
    """Print the distribution of the times, and the answers' statuses."""
    times = sorted(seconds for seconds, _ in results)
    statuses = sorted({status for _, status in results})
    median, late = times[len(times) // 2], times[int(len(times) * 0.95)]
    print(
        f"{what:42} {len(times):5} answers {statuses}: "
        f"median {median:7.3f} s, 95% {late:7.3f} s, last {times[-1]:7.3f} s"
    )


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="logins-") as name,
        login_service(Path(name)) as service,
    ):
        ada = service.visitor()
        assert ada.login("ada", userdb.PASSWORD).status_code == 303
        people = [service.visitor() for _ in range(PEOPLE)]
        print(f"{os.cpu_count()} processors, bcrypt cost {COST}")
        working(ada, threading.Event(), "alone", 100)

        done = threading.Event()
        watcher = threading.Thread(target=working, args=(ada, done, "during the logins", 10**6))
        watcher.start()
        start = time.perf_counter()
        with ThreadPoolExecutor(PEOPLE) as executor:
            results = list(
                executor.map(
                    lambda n: timed(lambda: people[n].login(f"p{n}", userdb.PASSWORD).status_code),
                    range(PEOPLE),
                )
            )
        took = time.perf_counter() - start
        done.set()
        watcher.join()
        report("logins at once", results)
        print(f"all in after {took:.1f} s: {PEOPLE / took:.1f} logins a second")


def working(ada: Visitor, done: threading.Event, when: str, rounds: int) -> None:
    """Ask as the proxy does and open the login page, over and over."""
    sessions, pages = [], []
    stranger = Visitor(ada.socket, "192.0.2.200")
    for _ in range(rounds):
        if done.is_set():
            break
        sessions.append(timed(lambda: ada.check().status_code))
        pages.append(timed(lambda: stranger.get("/auth/login").status_code))
        time.sleep(0.01)
    report(f"the proxy's question, {when}", sessions)
    report(f"the login page, {when}", pages)


if __name__ == "__main__":
    main()
