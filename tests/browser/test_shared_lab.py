"""The shared JupyterLab: a person with a browser, and restarts under their hands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.chromium import (
    IDLE,
    PATIENCE,
    chromium,
    compute,
    context,
    open_notebook,
    trusting_home,
)
from tests.kit.login_client import SESSION
from tests.kit.shared import PASSWORD, PORT, TOKEN, Shared

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    home = trusting_home(tmp_path_factory.mktemp("home"), shared.site.ca)
    with chromium(home, **{shared.site.name: shared.site.address}) as browser:
        yield browser


@pytest.fixture
def profile(browser: Browser) -> BrowserContext:
    return context(browser)


@pytest.fixture
def page(profile: BrowserContext) -> Iterator[Page]:
    page = profile.new_page()
    yield page
    page.close()


def url(shared: Shared, path: str = "") -> str:
    return f"https://{shared.site.name}:{PORT}{path}"


def fill_in(page: Page, username: str, password: str) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()


def log_in(shared: Shared, page: Page, username: str) -> None:
    """To JupyterLab itself: "/lab" is in the address of the login's page, too."""
    page.goto(url(shared, "/lab"))
    fill_in(page, username, PASSWORD)
    page.wait_for_url(f"{url(shared, '/lab')}**", timeout=PATIENCE)


def begin(shared: Shared, page: Page) -> None:
    """Eve logs in, and has a kernel that keeps something."""
    shared.visitor("eve")
    log_in(shared, page, "eve")
    open_notebook(page, url(shared, "/lab"))
    assert compute(page, "kept = 42; print('set')") == "set\n"


def log_in_in_another_tab(shared: Shared, profile: BrowserContext) -> None:
    other = profile.new_page()
    log_in(shared, other, "eve")
    other.close()


def save(page: Page) -> None:
    """A new notebook, under the name that it has."""
    page.keyboard.press("Control+s")
    page.get_by_role("button", name="Rename and Save").click()
    expect(page.locator(".jp-mod-dirty")).to_have_count(0, timeout=PATIENCE)


def test_a_person_works_and_leaves(
    shared: Shared, profile: BrowserContext, page: Page, tmp_path: Path
) -> None:
    shared.visitor("ada")
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.goto(url(shared, "/lab"))
    fill_in(page, "ada", "not the password")
    expect(page.get_by_role("alert")).to_be_visible()
    page.screenshot(path=tmp_path / "wrong.png")
    fill_in(page, "ada", PASSWORD)

    page.wait_for_url(f"{url(shared, '/lab')}**", timeout=PATIENCE)
    open_notebook(page, url(shared, "/lab"))
    assert compute(page, "print(6*7)") == "42\n"
    page.screenshot(path=tmp_path / "cell.png")

    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload Files").click()
    note = tmp_path / "note.txt"
    note.write_text("brought from home")
    chooser.value.set_files(note)
    entry = page.get_by_role("listitem", name="note.txt")
    expect(entry).to_be_visible()
    entry.click(button="right")
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Download", exact=False).first.click()
    assert Path(download.value.path()).read_text() == "brought from home"

    token = shared.sudo(f"cat {TOKEN}")
    assert token not in page.content() and not [one for one in seen if token in one]
    page.goto(url(shared, "/auth/account"))
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("You are logged out")).to_be_visible()
    page.go_back()
    page.wait_for_timeout(1000)
    page.goto(url(shared, "/lab"))
    expect(page.get_by_label("Username")).to_be_visible()
    page.go_back()
    expect(page.locator(".jp-Notebook")).to_have_count(0)
    assert not [cookie for cookie in profile.cookies() if cookie.get("name") == SESSION]


def test_a_tab_outlives_restarts_and_the_end_of_its_session(
    shared: Shared, profile: BrowserContext, page: Page, tmp_path: Path
) -> None:
    """The end as docs/login.md tells it: log in in another tab, and reconnect the first."""
    begin(shared, page)
    kernel = page.get_by_role("button", name="Python 3 (ipykernel) |")
    kernels = f"wss://{shared.site.name}:{PORT}/api/kernels/"
    # what JupyterLab says while Nginx is away, rightly: it goes on trying
    lost = page.get_by_role("dialog", name="Server Connection Error")
    page.add_locator_handler(lost, lambda dialog: dialog.get_by_role("button").last.click())
    for unit in ("hubstead-login-relay", "nginx"):
        with page.expect_websocket(lambda socket: kernels in socket.url, timeout=PATIENCE):
            shared.sudo(f"systemctl restart {unit}")
        assert compute(page, f"print(kept, '{unit}')") == f"42 {unit}\n"
    shared.sudo("systemctl restart hubstead-login")
    assert compute(page, "print(kept, 'login')") == "42 login\n"

    save(page)  # or it saves by itself, some time without a session, and complains
    shared.end_sessions()
    expect(kernel).to_have_text(re.compile("Disconnected"), timeout=60_000)
    page.screenshot(path=tmp_path / "ended.png")
    expect(page.get_by_role("dialog")).to_have_count(0)
    log_in_in_another_tab(shared, profile)
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name="Reconnect to Kernel").click()
    assert compute(page, "print(kept)") == "42\n"


def test_a_tab_that_missed_the_end_of_its_session_loses_nothing(
    shared: Shared, profile: BrowserContext, page: Page
) -> None:
    """It is told that its kernel died; docs/login.md says what to do."""
    begin(shared, page)
    shared.end_sessions("0 s")
    shared.sudo("systemctl kill -s KILL hubstead-login-relay")  # no last word
    page.get_by_role("button", name="Ok", exact=True).click(timeout=PATIENCE)
    log_in_in_another_tab(shared, profile)
    expect(page.locator(".jp-mod-dirty")).not_to_have_count(0)
    save(page)
    page.reload()
    expect(page.get_by_text(IDLE)).to_be_visible(timeout=PATIENCE)
    assert page.locator(".jp-OutputArea-output pre").text_content() == "set\n"
    assert compute(page, "print(kept)") == "42\n"
