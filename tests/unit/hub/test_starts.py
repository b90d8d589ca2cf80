"""More people start servers than may start at once: two, here (hub_config.py)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from hubstead_hub import starts
from tests.kit import forms


def press_start(browser: Any) -> requests.Response:
    page: requests.Response = browser.get("/hub/spawn")
    return page


def let(hub: Any, name: str) -> None:
    (Path(hub.log).parent / name).touch()


def check_waits(page: requests.Response, place: str) -> None:
    assert page.status_code == 429
    assert forms.refresh(page.text) == int(page.headers["Retry-After"]) == 5
    assert forms.said(page.text).endswith(place)


def test_others_wait_in_line_and_are_told_where(hub: Any) -> None:
    first, second, third, fourth, program = (
        hub.logged_in(f"slow-{name}") for name in ("one", "two", "three", "four", "five")
    )
    for starting in (first, second):
        assert press_start(starting).status_code == 302
    check_waits(press_start(third), "You are next.")
    check_waits(press_start(fourth), "1 person is before you.")
    # who asks again keeps the place
    check_waits(press_start(third), "You are next.")

    let(hub, "slow-one")
    hub.eventually((Path(hub.log).parent / "route-slow-one").exists)
    # the place that is free is not for whoever comes first
    check_waits(press_start(fourth), "1 person is before you.")
    refused = program.api("POST", "/users/slow-five/server")
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    assert refused.json()["message"] == "Others are waiting to start their servers."
    assert press_start(third).status_code == 302
    check_waits(press_start(fourth), "You are next.")

    let(hub, "slow-two")
    hub.eventually(lambda: press_start(fourth).status_code == 302)
    let(hub, "slow-three")
    let(hub, "slow-four")
    hub.eventually((Path(hub.log).parent / "route-slow-four").exists)


def test_who_leaves_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(starts.time, "monotonic", lambda: now)
    line = starts.Line()
    spawners = [SimpleNamespace(active=False) for _ in range(30)]
    for number, spawner in enumerate(spawners):
        before, seconds = line.ask((f"p{number}", ""), spawner)
        assert before == number and seconds == 5 + number // 10
    spawners[0].active = True
    assert line.ask(("p1", ""), spawners[1]) == (0, 5)
    now = 21.0
    assert line.ask(("p20", ""), spawners[20]) == (10, 6)
    now = 200.0
    assert line.waiting() == 0
    assert line.ask(("p20", ""), spawners[20]) == (0, 5)
