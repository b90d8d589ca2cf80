"""A class comes at once: `python -m bench.classroom`.

On a lab host with the whole service: 40 people send the login form at the same moment, and nobody
presses anything until they are in their servers and run a cell. One has a Chromium, the others do
what a browser does with the pages on the way. It measures and prints; tests/converge says that
all get there.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Barrier

from bench.neighbours import p95
from lab import Lab
from tests.browser import chromium as browsers
from tests.browser.chromium import PATIENCE, compute, open_notebook
from tests.kit.hub_client import HubClient
from tests.kit.service import INVENTORY, PASSWORD, Deployed, Service
from tests.kit.support import eventually

CELL, ANSWER = "print(6*7)", "42\n"


@dataclass(frozen=True)
class Arrival:
    """Seconds after which somebody was logged in, in the server, and had what a cell printed.

    + said: what the pages on the way said; nothing of the Chromium's.
    """

    login: float
    server: float
    cell: float
    said: list[str]


@dataclass(frozen=True)
class Bench:
    """How many come, the one with the Chromium among them."""

    people: int = 40

    def report(self, service: Service) -> str:
        """How many got there, and when. The service is deployed; the class leaves no trace."""
        names = [f"pupil{number}" for number in range(self.people)]
        everyone = [service.visitor(name) for name in names]
        try:
            outcomes = self._come(service, everyone)
        finally:
            service.sudo(f"for name in {' '.join(names)}; do hub-users remove $name --yes; done")
            running = "docker ps --format {{.Names}} --filter name=pupil"
            eventually("their servers are ended", lambda: not service.sudo(running), 600)
        return "\n".join(_lines(outcomes))

    def _come(self, service: Service, everyone: list[HubClient]) -> list[Arrival | BaseException]:
        together = Barrier(len(everyone), timeout=120)
        with (
            tempfile.TemporaryDirectory() as home,
            ThreadPoolExecutor(len(everyone)) as pool,
        ):
            first, *others = everyone
            coming = [pool.submit(_with_chromium, Path(home), service, first, together.wait)]
            coming += [pool.submit(_as_browsers_do, person, together.wait) for person in others]
            return [each.exception() or each.result() for each in coming]


def _as_browsers_do(person: HubClient, all_there: Callable[[], object]) -> Arrival:
    all_there()
    begun = time.monotonic()
    answer = person.try_to_log_in(PASSWORD)
    assert answer.status_code == 302, answer.text
    login = time.monotonic()
    said = person.arrive(answer.headers["Location"].removeprefix(person.site.base))
    server = time.monotonic()
    person.take_token()
    with person.kernel() as kernel:
        assert kernel.run(CELL) == ANSWER
    return Arrival(login - begun, server - begun, time.monotonic() - begun, said)


def _with_chromium(
    home: Path, service: Service, person: HubClient, all_there: Callable[[], object]
) -> Arrival:
    site, name = person.site, person.username
    with browsers.chromium(
        browsers.trusting_home(home, site.ca), **{service.name: service.address}
    ) as browser:
        page = browsers.context(browser).new_page()
        page.goto(site.url("/hub/login"))
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        all_there()
        begun = time.monotonic()
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{site.url('/hub/')}spawn**", timeout=PATIENCE)
        login = time.monotonic()
        lab = site.url(f"/user/{name}/lab")
        page.wait_for_url(f"{lab}**", timeout=4 * PATIENCE, wait_until="commit")
        server = time.monotonic()
        open_notebook(page, lab)
        assert compute(page, CELL) == ANSWER
        return Arrival(login - begun, server - begun, time.monotonic() - begun, [])


def _lines(outcomes: list[Arrival | BaseException]) -> list[str]:
    arrived = [each for each in outcomes if isinstance(each, Arrival)]
    waited = sum(any("before you" in said for said in each.said) for each in arrived)
    lines = [f"{len(arrived)} of {len(outcomes)} got a server and ran a cell"]
    lines += [f"{waited} read how many were before them"]
    for what in ("login", "server", "cell") if arrived else ():
        times = [getattr(each, what) for each in arrived]
        lines.append(f"to the {what:8} p50 {median(times):6.1f} s   p95 {p95(times) / 1000:6.1f} s")
    return lines + [f"not there: {each!r}" for each in outcomes if not isinstance(each, Arrival)]


def main() -> None:
    lab = Lab()
    with tempfile.TemporaryDirectory() as directory:
        try:
            service = Deployed(lab, lambda: Path(directory)).service()
            cores = service.sudo("nproc").strip()
            print(f"on {cores} cores …", flush=True)
            print(Bench().report(service))
        finally:
            lab.down(INVENTORY, keep_snapshots=True)


if __name__ == "__main__":
    main()
