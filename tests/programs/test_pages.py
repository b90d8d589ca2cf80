"""What people read where the proxy reaches nobody: where that leads, and what programs get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from threading import Thread

import httpx
import pytest

from programs.pages import Pages, page
from tests.kit import forms

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture
def ask() -> Iterator[httpx.Client]:
    """The program, as the proxy asks it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        Thread(target=server.serve_forever).start()
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
            yield client
        server.shutdown()


def test_the_page_of_a_server_leads_to_the_hub_with_what_was_asked_for(ask: httpx.Client) -> None:
    url = "/user/ada/lab/tree/a%20b.ipynb?x=1&y=%2F"
    answer = ask.get("/504", params={"url": url}, headers={"Accept": BROWSER})
    assert answer.status_code == 504 and forms.refresh(answer.text) == 0
    assert forms.leads(answer.text) == f"/hub{url}"


def test_any_other_page_tries_again_by_itself(ask: httpx.Client) -> None:
    answer = ask.get("/502", params={"url": "/hub/home"}, headers={"Accept": BROWSER})
    assert answer.status_code == 502
    assert (forms.refresh(answer.text), forms.leads(answer.text)) == (5, "")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_programs_get_json(ask: httpx.Client, accept: str) -> None:
    url = {"url": "/user/ada/api/contents"}
    answer = ask.get("/503", params=url, headers={"Accept": accept})
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "5"
    assert "does not answer" in json.loads(answer.text)["message"]


def test_below_a_path_and_where_the_hub_has_another_name() -> None:
    led = forms.leads(page("/j/user/ada/lab", "/j/", "https://hub.example.org"))
    assert led == "https://hub.example.org/j/hub/user/ada/lab"
    assert forms.leads(page("/user/ada/lab", "/j/", "")) == ""


@pytest.mark.parametrize("url", ['/user/"><script>', "//evil.example/user/a", "https://evil/hub"])
def test_no_address_leads_elsewhere_or_becomes_markup(url: str) -> None:
    shown = page(url, "/", "")
    assert "<script>" not in shown
    assert forms.leads(shown) == "" or forms.leads(shown).startswith("/hub/user/")
