"""Whoever the proxy's page leads here since their server does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = "/hub/user/slow-gone/lab/tree?x=1"


def test_who_finds_no_server_is_offered_a_start_at_once(hub: Any) -> None:
    person, runs = hub.logged_in("slow-gone"), Path(hub.log).parent / "slow-gone"
    runs.touch()
    assert person.get("/hub/spawn").status_code == 302
    hub.eventually((runs.parent / "route-slow-gone").exists)
    hub.eventually(lambda: "/spawn-pending/" not in person.get(PAGE).headers["Location"])
    # it may have started between the two questions
    back = person.get(PAGE)
    assert back.headers["Location"] == f"{PAGE.removeprefix('/hub')}&redirects=1"

    # which the Hub would notice half a minute later
    runs.unlink()
    again = person.get(PAGE)
    assert (again.status_code, again.headers["Location"]) == (302, PAGE)
    offer = person.get(PAGE)
    assert offer.status_code == 424 and 'id="start"' in offer.text
