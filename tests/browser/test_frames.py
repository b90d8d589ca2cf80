"""JupyterLab in a frame of another application's page, in Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.chromium import chromium, compute, open_notebook, trusting_home
from tests.browser.chromium import context as profile
from tests.kit.hub_client import HubClient
from tests.kit.service import NAME, Service

pytestmark = pytest.mark.slow

APP, EVIL = "https://app.example.org", "https://evil.example.net"
LAB = f"https://alice.{NAME}/user/alice/lab"
#: What a script of a page learns of a URL, with a token of somebody's
ASK = """async ([url, token]) => {
    const headers = {Authorization: `token ${token}`};
    try { return (await fetch(url, {headers})).status } catch (error) { return error.name }
}"""


@pytest.fixture(scope="module")
def alice(service: Service) -> Iterator[HubClient]:
    """Somebody of a Hub which pages of APP may show."""
    settings = (f"hub_frame_origins={json.dumps([APP])}", "hub_token_in_url=True")
    data = [word for each in settings for word in ("--data", each)]
    run = service.run(*data, "deploys/jupyterhub.py")
    assert run.status == 0, run.end
    alice = service.person("alice")
    alice.stop_server()
    alice.start_server()
    yield alice
    assert service.run("deploys/jupyterhub.py").status == 0


@pytest.fixture(scope="module")
def context(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    home = trusting_home(tmp_path_factory.mktemp("home"), service.site.ca)
    with chromium(home, **{NAME: service.address}) as browser:
        yield profile(browser)


def show(context: BrowserContext, origin: str, url: str) -> Page:
    """A page of an origin, with a frame."""

    def answer(route: Route) -> None:
        frame = f'<iframe name="lab" src="{url}" width="1200" height="700"></iframe>'
        route.fulfill(content_type="text/html", body=f"<!doctype html><h1>App</h1>{frame}")

    context.route(f"{origin}/**", answer)
    page = context.new_page()
    page.goto(f"{origin}/course")
    return page


def test_a_listed_page_shows_lab_and_calls_it(
    alice: HubClient, context: BrowserContext, tmp_path: Path
) -> None:
    page = show(context, APP, f"{LAB}?token={alice.token}")
    frame = page.frame("lab")
    assert frame is not None
    expect(frame.locator(".jp-LauncherCard").first).to_be_visible(timeout=180_000)
    # by the cookie that the token got
    open_notebook(frame, LAB)
    assert compute(frame, "print(6*7)") == "42\n"
    page.screenshot(path=tmp_path / "frame.png")
    for url in (LAB.replace("/lab", "/api/status"), f"https://{NAME}/hub/api/user"):
        assert page.evaluate(ASK, [url, alice.token]) == 200
        # an error can be read too
        assert page.evaluate(ASK, [f"{url}/nothing", alice.token]) in (403, 404)
    page.close()


def test_another_page_gets_nothing(alice: HubClient, context: BrowserContext) -> None:
    for url in (f"{LAB}?token={alice.token}", f"https://{NAME}/hub/home"):
        page = show(context, EVIL, url)
        page.wait_for_load_state("networkidle")
        assert [frame.url for frame in page.frames[1:]] == ["chrome-error://chromewebdata/"]
        for asked in (LAB.replace("/lab", "/api/status"), f"https://{NAME}/hub/api/user"):
            assert page.evaluate(ASK, [asked, alice.token]) == "TypeError"
        page.close()
        context.unroute(f"{EVIL}/**")
