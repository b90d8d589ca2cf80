"""What people read where something went wrong."""

from __future__ import annotations

from typing import Any


def test_what_is_not_there(hub: Any) -> None:
    for browser in (hub.logged_in("ann"), hub.browser()):
        page = browser.get("/hub/nothing")
        assert page.status_code == 404
        assert "There is no such page" in page.text and "None" not in page.text
        assert 'href="/hub/home"' in page.text


def test_what_may_not_be(hub: Any) -> None:
    page = hub.logged_in("ben").get("/hub/admin")
    assert page.status_code == 403
    assert "You may not do this" in page.text and "None" not in page.text
    assert "/hub/logout" in page.text
