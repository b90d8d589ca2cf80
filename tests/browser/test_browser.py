"""A person with a browser: the first login, a password of one's own, JupyterLab, a cell.

The browser trusts the service's authority because it was imported, as people are told to do; no
error of a certificate is ignored. Screenshots are in the directory that pytest keeps (--basetemp).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.chromium import PATIENCE, chromium, compute, open_notebook, trusting_home
from tests.browser.chromium import context as profile
from tests.kit.service import NAME, Service

pytestmark = pytest.mark.slow

URL, SERVER = f"https://{NAME}", f"https://admin.{NAME}"


@pytest.fixture(scope="module")
def context(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    home = trusting_home(tmp_path_factory.mktemp("home"), service.site.ca)
    with chromium(home, **{NAME: service.address}) as browser:
        yield profile(browser)
    service.sudo("docker rm -f hubstead-admin--; rm -r /srv/hubstead/files/admin")


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    yield page
    page.close()


def log_in(page: Page, username: str, password: str) -> None:
    page.goto(f"{URL}/hub/login")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_http_leads_to_https(page: Page) -> None:
    answer = page.goto(f"http://{NAME}/hub/login?next=")
    assert answer is not None and answer.ok
    assert page.url == f"{URL}/hub/login?next="
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_a_wrong_password_shows_an_error(page: Page, tmp_path: Path) -> None:
    log_in(page, "admin", "not the password")
    expect(page.get_by_text("Invalid username or password")).to_be_visible()
    page.screenshot(path=tmp_path / "wrong-password.png")
    page.goto(f"{URL}/hub/home")
    expect(page.get_by_label("Password")).to_be_visible()


def test_the_first_login_ends_in_a_cell(service: Service, page: Page, tmp_path: Path) -> None:
    given = service.sudo("hub-users initial-password admin").strip()
    own = "a password of my own"

    log_in(page, "admin", given)
    expect(page.get_by_text("replace the password that you were given")).to_be_visible()
    page.screenshot(path=tmp_path / "change-password.png")
    page.get_by_label("Current password").fill(given)
    page.get_by_label("New password", exact=True).fill(own)
    page.get_by_label("New password again").fill(own)
    page.get_by_role("button", name="Change password").click()

    page.wait_for_url(f"{SERVER}/user/admin/lab**", timeout=PATIENCE)
    open_notebook(page, f"{SERVER}/user/admin/lab")
    assert compute(page, "print(6*7)") == "42\n"
    page.screenshot(path=tmp_path / "cell.png")
    assert given not in service.sudo("ls /var/lib/hubstead/userdb/initial-passwords")


def test_the_page_asks_nobody_else(context: BrowserContext, page: Page) -> None:
    """Nothing is loaded from elsewhere: people behind a firewall see the same pages."""
    strangers: list[str] = []

    def note(route: Route) -> None:
        if not route.request.url.startswith((URL, SERVER, "data:", "blob:")):
            strangers.append(route.request.url)
        route.continue_()

    context.route("**/*", note)
    page.goto(f"{SERVER}/user/admin/lab")
    expect(page.locator(".jp-Notebook").first).to_be_visible()
    page.goto(f"{URL}/hub/home")
    context.unroute("**/*", note)
    assert strangers == []


def test_logging_out_ends_it(page: Page, tmp_path: Path) -> None:
    page.goto(f"{URL}/hub/home")
    page.screenshot(path=tmp_path / "home.png")
    page.locator("#logout").click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.goto(f"{SERVER}/user/admin/lab")
    expect(page.get_by_label("Password")).to_be_visible()
