"""Sessions end of who may have none any more, also where nobody asks for anything."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kit.userdb import NEW_PASSWORD, PASSWORD


def token_of(browser: Any, name: str) -> str:
    answer = browser.api("POST", f"/users/{name}/tokens", json={})
    return str(answer.json()["token"])


def works(hub: Any, token: str) -> bool:
    anyone = hub.browser()
    anyone.session.headers["Authorization"] = f"token {token}"
    return bool(anyone.get("/hub/api/user").status_code == 200)


def rows(hub: Any, query: str, *values: str) -> list[Any]:
    with sqlite3.connect(Path(hub.log).parent / "hub.sqlite", timeout=20) as database:
        return database.execute(query, values).fetchall()


def marks(hub: Any) -> str:
    file: Path = hub.log.parent / "accounts.json"
    return file.read_text() if file.exists() else ""


def tokens_kept(hub: Any, name: str) -> int:
    query = "SELECT count(*) FROM api_tokens JOIN users ON users.id = user_id WHERE name = ?"
    return int(rows(hub, query, name)[0][0])


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("dis", [["disable", "dis"]]),
        ("gen", [["passwd", "gen", "--generate"]]),
        ("new", [["passwd", "new", "--password-stdin"]]),
        ("rem", [["remove", "rem", "--yes"]]),
    ],
)
def test_nothing_asks_and_all_ends(hub: Any, name: str, commands: list[list[str]]) -> None:
    browser = hub.logged_in(name)
    token = token_of(browser, name)
    assert works(hub, token)
    stays = hub.logged_in(f"{name}-stays")
    kept = token_of(stays, f"{name}-stays")
    for command in commands:
        hub.hub_users.ok(*command, stdin=f"{NEW_PASSWORD}\n")
    hub.eventually(lambda: tokens_kept(hub, name) == 0)
    assert not browser.is_logged_in() and not works(hub, token)
    assert stays.is_logged_in() and works(hub, kept)


def test_the_next_one_of_a_name_is_another(hub: Any) -> None:
    browser = hub.logged_in("heir")
    token = token_of(browser, "heir")
    first = rows(hub, "SELECT created FROM users WHERE name = ?", "heir")
    hub.hub_users.ok("remove", "heir", "--yes")
    hub.hub_users.ok("add", "heir", "--password-stdin", stdin=f"{PASSWORD}\n")
    hub.eventually(lambda: not works(hub, token))
    assert not browser.is_logged_in()
    # until all is ended nobody comes in under the name
    hub.eventually(lambda: hub.browser().login("heir").status_code == 302)
    assert rows(hub, "SELECT created FROM users WHERE name = ?", "heir") != first


def test_who_changes_their_own_password_goes_on(hub: Any) -> None:
    browser = hub.logged_in("own")
    token = token_of(browser, "own")
    before = marks(hub)
    assert browser.change_password(PASSWORD, NEW_PASSWORD).status_code == 302
    hub.eventually(lambda: marks(hub) != before)
    assert browser.is_logged_in() and works(hub, token)


def test_a_logout_ends_copies_of_the_cookie(hub: Any) -> None:
    browser = hub.logged_in("copied")
    token = token_of(browser, "copied")
    thief = hub.browser()
    thief.session.cookies.update(browser.session.cookies)
    assert thief.is_logged_in()
    browser.get("/hub/logout")
    assert not browser.is_logged_in() and not thief.is_logged_in()
    assert works(hub, token)


def test_an_empty_table_is_taken_for_a_lost_one(hub: Any) -> None:
    browser = hub.logged_in("lost")
    token = token_of(browser, "lost")
    with hub.hub_users.owner() as owner:
        owner.execute("CREATE TABLE kept AS SELECT * FROM users")
        owner.execute("DELETE FROM users")
    try:
        hub.eventually(lambda: not browser.is_logged_in())
        assert tokens_kept(hub, "lost") == 1
    finally:
        with hub.hub_users.owner() as owner:
            owner.execute("INSERT INTO users SELECT * FROM kept")
            owner.execute("DROP TABLE kept")
    assert works(hub, token)


def test_who_left_for_good_is_forgotten_and_the_next_one_is_not(hub: Any) -> None:
    """As programs/offboard.py tells it; a provider may know the person still."""
    browser, other = hub.logged_in("lea"), hub.logged_in("leo")
    token = token_of(browser, "lea")
    left = Path(hub.log).parent / "left.json"
    left.write_text(json.dumps({"lea": time.time()}))
    hub.eventually(lambda: not browser.is_logged_in() and not works(hub, token))
    hub.eventually(lambda: not rows(hub, "SELECT name FROM users WHERE name = ?", "lea"))
    assert other.is_logged_in()
    hub.eventually(lambda: browser.login("lea").status_code == 302)
    time.sleep(3)
    assert browser.is_logged_in()
    # what is none ends nothing
    left.write_text("{")
    time.sleep(3)
    assert browser.is_logged_in() and other.is_logged_in()
    left.unlink()
