"""The host's own authority in Chromium, which trusts it as a person's browser does."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error

from tests.browser.chromium import chromium, context, trusting_home
from tests.kit.authority import Authority, serving

pytestmark = pytest.mark.slow

OURS = ["hub.example.org", "127.0.0.1"]
ASKED = [*OURS, "a.hub.example.org", "bank.example.com", "xhub.example.org", "127.0.0.2"]


def sees(browser: Browser, pair: tuple[Path, Path], name: str) -> str:
    """What somebody sees who goes to a name where a server shows this certificate."""
    visit = context(browser)
    try:
        with serving(pair, "127.0.0.2" if name == "127.0.0.2" else "127.0.0.1") as port:
            page = visit.new_page()
            page.goto(f"https://{name}:{port}/")
            return page.text_content("body") or ""
    except Error as error:
        return error.message
    finally:
        visit.close()


def test_it_vouches_for_the_service_and_for_nobody_else(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    authority.issue(OURS, [*OURS, "localhost"])
    home = trusting_home(tmp_path / "home", authority.root)
    addresses = {name: "127.0.0.2" if name == "127.0.0.2" else "127.0.0.1" for name in ASKED}
    with chromium(home, **addresses) as browser:
        for name in OURS:
            assert sees(browser, authority.pair(), name) == "hello"
        # a further name below; the browser trusts the same root
        authority.issue([*OURS, "a.hub.example.org"])
        assert sees(browser, authority.pair(), "a.hub.example.org") == "hello"
        for san, name in (
            ("DNS:bank.example.com", "bank.example.com"),
            ("DNS:xhub.example.org", "xhub.example.org"),
            ("DNS:hub.example.org,DNS:bank.example.com", "hub.example.org"),
            ("IP:127.0.0.2", "127.0.0.2"),
        ):
            assert "net::ERR_CERT" in sees(browser, authority.forge(san), name)


def test_everyones_server_has_a_name_that_browsers_take(tmp_path: Path) -> None:
    """With the root that they trust already; on a person's own machine as well."""
    authority = Authority(tmp_path / "authority")
    names = ["hub.localhost", "hub.example.org"]
    authority.issue(names)
    home = trusting_home(tmp_path / "home", authority.root)
    with chromium(home, **dict.fromkeys(names, "127.0.0.1")) as browser:
        authority.issue([*names, *(f"*.{name}" for name in names)], names)
        for name in names:
            assert sees(browser, authority.pair(), name) == "hello"
            assert sees(browser, authority.pair(), f"ada.{name}") == "hello"


def test_of_names_alone_it_vouches_for_no_address(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    authority.issue(["hub.example.org"])
    home = trusting_home(tmp_path / "home", authority.root)
    with chromium(home, **dict.fromkeys(ASKED, "127.0.0.1")) as browser:
        assert sees(browser, authority.pair(), "hub.example.org") == "hello"
        assert "net::ERR_CERT" in sees(browser, authority.forge("IP:127.0.0.1"), "127.0.0.1")
