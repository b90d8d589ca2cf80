"""A link to eve's server: her page in the browser of bob, and of the admin, who are logged in.

One host goes through the choices of docs/apart.md, behind one front and another, while somebody's
kernel computes. In Chromium, whose user trusts the service's authority.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.attacks.eve import EACH, Apart, give, log_in, visit
from tests.browser.chromium import PATIENCE, chromium, compute, open_notebook, trusting_home
from tests.browser.chromium import context as profile
from tests.converge.test_cut import differences
from tests.converge.test_fronts import settled
from tests.kit.hub_client import Kernel, patiently
from tests.kit.service import INVENTORY, NAME, PASSWORD, Deployed
from tests.kit.support import down, eventually, params

pytestmark = pytest.mark.slow

ONE, NONE = f"servers.{NAME}", None
_NO_DOMAINS = "hub_user_domains=false"
_ONE = (_NO_DOMAINS, f"hub_servers_name={ONE}")
#: Choice and front: where the servers are, and the settings. The first is as the host is deployed.
CASES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "a name each": (EACH, ()),
    "a name each, chp": (EACH, ("proxy=chp",)),
    "a name each, behind nginx": (EACH, ("edge=nginx",)),
    "one for all, behind apache": (ONE, (*_ONE, "edge=apache", "proxy=chp")),
    "one for all": (ONE, _ONE),
    "none": (NONE, (_NO_DOMAINS, "hub_people_trust_each_other=true")),
}
#: Those that `make test` leaves to `make test-all`
FURTHER = ("a name each, chp", "a name each, behind nginx", "one for all, behind apache", "none")


@pytest.fixture(scope="module")
def service(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    lab = deployed.alone().lab
    yield Apart(lab, tmp_path_factory.mktemp("apart"))
    down(lab, INVENTORY)


@pytest.fixture(scope="module")
def fresh(service: Apart) -> dict[str, Any]:
    """What the deploys of a bare host made of it."""
    return service.manifest()


@pytest.fixture(scope="module")
def at_work(service: Apart, fresh: dict[str, Any]) -> Iterator[Kernel]:
    """A kernel of somebody who was at work before the first switch."""
    with service.person("ada").kernel() as kernel:
        kernel.run("memory = 'kept'")
        yield kernel


@pytest.fixture(scope="module")
def browser(service: Apart, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    home = trusting_home(tmp_path_factory.mktemp("home"), service.site.ca)
    with chromium(home, **{NAME: service.address}) as browser:
        yield browser


@pytest.fixture(scope="module", params=params(CASES, FURTHER))
def choice(request: pytest.FixtureRequest, service: Apart, at_work: Kernel) -> str | None:
    servers, settings = CASES[request.param]
    service.choose(servers, settings)
    return servers


@pytest.fixture(scope="module")
def gift(choice: str | None, service: Apart) -> str:
    """The link."""
    return give(service)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = profile(browser)
    yield context
    context.close()


OF_THE_HUB = {"fetched", "framed", "opened", "token", "blind", "admin"}
OF_THE_SERVER = {"own", "diary", "socket"}


@pytest.fixture(scope="module")
def chief(service: Apart) -> str:
    """An admin."""
    service.visitor("chief")
    service.sudo("hub-users admin chief")
    return "chief"


@pytest.mark.parametrize("username", ["bob", "chief"])
def test_her_page_gets_nothing(
    choice: str | None,
    service: Apart,
    chief: str,
    gift: str,
    context: BrowserContext,
    username: str,
) -> None:
    """Of the Hub, nor of the server where each has a name. At one name it gets everything."""
    got = visit(context, service, username, gift)
    refused = {what for what, found in got.items() if str(found).startswith("refused")}
    eve_is_admin = service.person("eve").api("GET", "/user")["admin"]
    if choice is NONE:
        assert not refused & {"token", *OF_THE_SERVER}
        assert "gift" in service.notes_of_tokens(username)
        # until the Hub looks into the users table again, a minute later
        assert (got["admin"] is True) is (username == chief)
        return
    assert refused >= OF_THE_HUB | (OF_THE_SERVER if choice == EACH else set())
    assert "gift" not in service.notes_of_tokens(username)
    assert not eve_is_admin
    # nor does her server get what the browser sends with a request for her page
    sent = context.cookies(gift)
    assert [cookie["name"] for cookie in sent if username in cookie["name"]] == []


def test_the_hub_is_at_its_own_name(choice: str | None, service: Apart) -> None:
    """Its login at eve's name would be a page of the Hub's, with the rights of eve's."""
    path = "/hub/login?next="
    url = f"https://{service.site.name_for('/user/eve/')}"
    with service.site.client() as visitor:
        page = visitor.get(url + path)
        form = visitor.post(f"{url}/hub/login", data={"username": "eve", "password": PASSWORD})
    if choice is NONE:
        assert page.status_code == 200
        return
    assert (page.status_code, page.headers["location"]) == (302, f"https://{NAME}{path}")
    assert form.status_code in (403, 421)
    assert "set-cookie" not in form.headers


def test_a_kernel_of_before_is_there(choice: str | None, at_work: Kernel) -> None:
    patiently(at_work.connect)
    assert at_work.run("print(memory)") == "kept\n"


def test_people_work_in_their_servers(
    choice: str | None, service: Apart, at_work: Kernel, context: BrowserContext
) -> None:
    """In one that runs since before the first switch: JupyterLab, a cell, a download, the end."""
    lab = service.url("user/ada/lab")
    page = context.new_page()
    log_in(page, service, "ada")
    assert page.url.startswith(lab)
    open_notebook(page, lab)
    assert compute(page, "print(6*7)") == "42\n"

    body = {"type": "file", "format": "text", "content": "one,two"}
    service.person("ada").server("PUT", "/contents/table.csv", json=body)
    page.goto(f"{lab}/tree/table.csv")
    with page.expect_download() as download:
        page.evaluate("location.href = '/user/ada/files/table.csv?download=1'")
    assert download.value.path().read_text() == "one,two"

    page.goto(service.url("hub/home"))
    page.locator("#logout").click()
    expect(page.get_by_label("Password")).to_be_visible()
    # a server that was started at other names may know the visitor for five minutes
    if choice is not ONE:
        page.goto(lab)
        expect(page.get_by_label("Password")).to_be_visible()


def test_an_admin_sees_a_server_after_a_word(
    choice: str | None, service: Apart, chief: str, context: BrowserContext
) -> None:
    service.person("bob")
    page = context.new_page()
    log_in(page, service, chief)
    page.goto(service.url("user/bob/lab"))
    page.get_by_role("button", name="Authorize").click()
    page.wait_for_url(f"{service.url('user/bob/lab')}**", timeout=PATIENCE)
    expect(page.locator("#jp-top-panel")).to_be_visible()


def test_a_logout_reaches_a_server_at_another_name(
    choice: str | None, service: Apart, context: BrowserContext
) -> None:
    service.person("bob").stop_server()
    service.person("bob")
    page = context.new_page()
    log_in(page, service, "bob")
    page.goto(service.url("hub/logout"))
    expect(page.get_by_label("Password")).to_be_visible()

    def is_out() -> bool:
        page.goto(service.url("user/bob/api/status"))
        return "/hub/login" in page.url or "Forbidden" in page.content()

    eventually("bob's server knows of his logout", is_out, 20)


@pytest.mark.every
def test_the_way_back_leaves_nothing_and_keeps_kernels(
    service: Apart, fresh: dict[str, Any], browser: Browser
) -> None:
    """From the last of the choices to the first, with a server that was started at the one name."""
    with service.person("zoe").kernel() as kernel:
        kernel.run("memory = 'kept'")
        service.choose(EACH, ())
        assert list(differences(settled(fresh), settled(service.manifest()))) == []
        patiently(kernel.connect)
        assert kernel.run("print(memory)") == "kept\n"
    page = profile(browser).new_page()
    log_in(page, service, "zoe")
    assert page.url.startswith(f"https://zoe.{NAME}/user/zoe/lab")
    open_notebook(page, f"https://zoe.{NAME}/user/zoe/lab")
    assert compute(page, "print(6*7)") == "42\n"
