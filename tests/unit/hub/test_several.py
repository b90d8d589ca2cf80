"""Several ways to log in at once: whose people may, whose name it is, and what is whose.

The users table, OpenID Connect and GitHub in one Hub; lab hosts have real ones
(tests/converge/test_accounts.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from copy import copy
from http.cookiejar import Cookie
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from traitlets.config import Config

from hubstead_hub.several import ButtonsHandler, Several
from tests.kit import running
from tests.kit.userdb import NEW_PASSWORD, PASSWORD, Cluster, users_table
from tests.unit.hub.accounts import SERVICE_TOKEN, Accounts
from tests.unit.hub.conftest import Browser, Hub, two_ports
from tests.unit.hub.test_oauth import Provider
from tests.unit.hub.test_rules import write

#: Who may log in, where a test says nothing else
EVERYONE = {"everyone_of": ["oidc", "github"]}


def copy_of(cookie: Cookie, name: str) -> Cookie:
    other = copy(cookie)
    other.name = name
    return other


class Site(Accounts):
    """The Hub, and the two providers by what the settings call them."""

    def __init__(self, hub: Hub, providers: dict[str, Provider], rules: Path) -> None:
        super().__init__(hub, rules)
        self.providers = providers

    def knows(self, way: str, name: str, **claims: Any) -> None:
        github = {"login": name, "id": len(name), "email": f"{name}@example.org"}
        self.providers[way].person(name, **(github if way == "github" else {}), **claims)

    def begin(self, browser: Browser, way: str) -> str:
        """Press the button; the state that the provider is given."""
        asked = browser.get(f"/hub/{way}/oauth_login?next=/hub/home")
        query = parse_qs(urlsplit(asked.headers["Location"]).query)
        assert query["redirect_uri"] == [f"{self.hub.url}/hub/{way}/oauth_callback"]
        return query["state"][0]

    def come_back(self, browser: Browser, way: str, name: str, state: str) -> requests.Response:
        return browser.session.get(
            f"{self.hub.url}/hub/{way}/oauth_callback",
            params={"code": name, "state": state},
            allow_redirects=False,
            timeout=20,
        )

    def log_in(self, way: str, name: str) -> tuple[Browser, requests.Response]:
        browser = self.hub.browser()
        return browser, self.come_back(browser, way, name, self.begin(browser, way))

    def person(self, way: str, name: str, **claims: Any) -> Browser:
        """Somebody who is known to the provider, and has logged in."""
        self.knows(way, name, **claims)
        browser, answer = self.log_in(way, name)
        assert (answer.status_code, answer.headers.get("Location")) == (302, "/hub/home")
        return browser

    def of_the_table(self, name: str) -> Browser:
        browser = self.hub.person(name)
        assert browser.login(name).status_code == 302
        return browser


@pytest.fixture(scope="module")
def only_site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("several")
    providers = {"oidc": Provider(), "github": Provider()}
    for provider in providers.values():
        threading.Thread(target=provider.serve_forever, daemon=True).start()
    hub = Hub(
        users_table(cluster, tmp_path_factory.mktemp("users"), "userdb_several"),
        directory,
        two_ports(),
        configuration="several_config.py",
        TEST_OIDC=providers["oidc"].url,
        TEST_GITHUB=providers["github"].url,
        TEST_SERVICE_TOKEN=SERVICE_TOKEN,
    )
    with running.running(hub):
        yield Site(hub, providers, directory / "rules.json")
    for provider in providers.values():
        provider.shutdown()


@pytest.fixture
def site(only_site: Site) -> Site:
    only_site.rules(**EVERYONE)
    return only_site


def test_one_page_has_a_form_and_a_button_for_each_provider(site: Site) -> None:
    page = site.hub.browser().get("/hub/login?next=/hub/token")
    assert page.status_code == 200 and page.text.count('name="password"') == 1
    for way, name in (("oidc", "Campus"), ("github", "GitHub")):
        assert (
            f'href="/hub/{way}/oauth_login?next=%2Fhub%2Ftoken">Sign in with {name}<' in page.text
        )
    wrong = site.hub.browser().login("nobody", "a wrong one")
    assert wrong.status_code == 403 and "Invalid username or password" in wrong.text
    assert "Sign in with Campus" in wrong.text


def test_each_persons_way_leads_in(site: Site) -> None:
    for name, browser in (
        ("of.table", site.of_the_table("of.table")),
        ("of.oidc", site.person("oidc", "of.oidc")),
        ("of.github", site.person("github", "of.github")),
    ):
        assert browser.api("GET", "/user").json()["name"] == name
        page = browser.get("/hub/home").text
        assert ("Change password" in page) == (name == "of.table")
        # asked anew at each request
        assert browser.is_logged_in()


@pytest.mark.parametrize("way", ["oidc", "github"])
def test_a_name_is_whose_it_was_first(site: Site, way: str) -> None:
    first = site.of_the_table(f"table.{way}")
    site.knows(way, f"table.{way}")
    browser, answer = site.log_in(way, f"table.{way}")
    assert answer.status_code == 403 and "logs in here another way" in answer.text
    assert not browser.is_logged_in() and first.is_logged_in()

    first = site.person(way, f"first.{way}")
    other = "github" if way == "oidc" else "oidc"
    site.knows(other, f"first.{way}")
    assert site.log_in(other, f"first.{way}")[1].status_code == 403
    answer = site.hub.person(f"first.{way}").login(f"first.{way}")
    assert answer.status_code == 403 and "logs in here another way" in answer.text
    assert "Sign in with Campus" in answer.text
    assert first.is_logged_in()


def test_a_name_of_the_table_waits_for_whose_it_is(site: Site) -> None:
    """Else the teacher of a group is whoever takes her name at GitHub, and comes first."""
    grace = site.hub.person("grace.hopper")
    for way in ("oidc", "github"):
        site.knows(way, "grace.hopper")
        answer = site.log_in(way, "grace.hopper")[1]
        assert answer.status_code == 403 and "somebody of the users table" in answer.text
    assert grace.login("grace.hopper").status_code == 302


def test_the_password_page_is_no_way_around_that(site: Site) -> None:
    """Who changes a password ends sessions of the name, and gets a new one."""
    first = site.person("oidc", "both")
    token = site.token_of("both")
    second = site.hub.person("both")
    answer = second.change_password(
        PASSWORD, NEW_PASSWORD, page="/hub/change-password?username=both", username="both"
    )
    assert answer.status_code == 403 and "logs in here another way" in answer.text
    assert first.is_logged_in() and site.works(token) and not second.is_logged_in()
    assert second.login("both", PASSWORD).status_code == 403


def test_who_changes_a_password_keeps_the_name(site: Site) -> None:
    browser = site.of_the_table("keeps")
    token = site.token_of("keeps")
    assert browser.change_password(PASSWORD, NEW_PASSWORD).status_code == 302
    site.knows("oidc", "keeps")
    assert site.log_in("oidc", "keeps")[1].status_code == 403
    assert browser.is_logged_in() and site.works(token)


def test_a_name_is_free_once_its_account_is_removed(site: Site) -> None:
    site.person("oidc", "moves")
    site.knows("github", "moves")
    assert site.log_in("github", "moves")[1].status_code == 403
    del site.providers["oidc"].people["moves"]
    assert site.service("DELETE", "/users/moves").status_code == 204
    site.eventually(lambda: site.log_in("github", "moves")[1].status_code == 302)


def test_an_answer_of_one_provider_is_none_of_another(site: Site) -> None:
    """RFC 9700, 4.4: a provider that is not honest sends people on with its own."""
    site.knows("oidc", "mixed")
    site.knows("github", "mixed")
    browser = site.hub.browser()
    state = site.begin(browser, "github")
    assert site.come_back(browser, "oidc", "mixed", state).status_code == 400
    # nor under the other's name
    jar = browser.session.cookies
    (cookie,) = (each for each in jar if each.name == "oauthenticator-state-github")
    jar.set_cookie(copy_of(cookie, name="oauthenticator-state-oidc"))
    assert site.come_back(browser, "oidc", "mixed", state).status_code == 400
    assert not browser.is_logged_in()
    # and both at once, in two tabs
    one, other = site.begin(browser, "oidc"), site.begin(browser, "github")
    assert site.come_back(browser, "oidc", "mixed", one).status_code == 302
    assert site.come_back(browser, "github", "mixed", other).status_code == 403


def test_a_provider_has_its_own_rules(site: Site) -> None:
    site.rules(
        allowed=["oidc:ada", "github:mallory"],
        admins=["oidc:grace", "users-table:root"],
        allowed_groups=["oidc:lab"],
        admin_groups=["github:staff"],
    )
    for way, name, admitted, admin in (
        ("github", "ada", False, False),
        ("oidc", "ada", True, False),
        ("github", "grace", False, False),
        ("oidc", "grace", True, True),
        ("oidc", "root", False, False),
    ):
        site.knows(way, name)
        browser, answer = site.log_in(way, name)
        assert answer.status_code == (302 if admitted else 403), (way, name)
        if admitted:
            assert browser.api("GET", "/user").json()["admin"] is admin
    assert site.of_the_table("root").api("GET", "/user").json()["admin"]
    member = site.person("oidc", "member", groups=["lab", "staff"]).api("GET", "/user").json()
    assert member["groups"] == ["oidc:lab"] and not member["admin"]
    site.rules(everyone_of=["oidc"])
    site.knows("github", "anybody")
    assert site.log_in("github", "anybody")[1].status_code == 403


def test_a_mapped_name_is_nobodys_of_another_way(site: Site) -> None:
    site.rules(**EVERYONE, names={"oidc:ada@example.org": "ada.l"})
    site.knows("github", "ada.l")
    site.knows("github", "ada@example.org")
    assert site.log_in("github", "ada.l")[1].status_code == 403
    assert site.hub.person("ada.l").login("ada.l").status_code == 403
    browser, _ = site.log_in("github", "ada@example.org")
    assert browser.api("GET", "/user").json()["name"] == "ada@example.org"
    site.knows("oidc", "mail", preferred_username="Ada@Example.org")
    browser, _ = site.log_in("oidc", "mail")
    assert browser.api("GET", "/user").json()["name"] == "ada.l"


def test_who_leaves_one_provider_leaves_alone(site: Site) -> None:
    site.of_the_table("slow-table")
    for way in ("oidc", "github"):
        site.person(way, f"slow-{way}")
        site.person(way, f"slow-{way}-stays")
    names = ["slow-table", "slow-oidc", "slow-github", "slow-oidc-stays", "slow-github-stays"]
    tokens = {name: site.token_of(name) for name in names}
    for name in names:
        site.start(name)
    for way in ("oidc", "github"):
        del site.providers[way].people[f"slow-{way}"]
    site.eventually(lambda: not site.runs("slow-oidc") and not site.runs("slow-github"))
    assert not site.works(tokens["slow-oidc"]) and not site.works(tokens["slow-github"])
    site.hub.hub_users.ok("disable", "slow-table")
    site.eventually(lambda: not site.runs("slow-table"))
    for way in ("oidc", "github"):
        assert site.runs(f"slow-{way}-stays") and site.works(tokens[f"slow-{way}-stays"])


def test_one_provider_that_is_away_keeps_none_of_another_in(site: Site) -> None:
    site.person("github", "slow-away")
    site.person("oidc", "slow-left")
    for name in ("slow-away", "slow-left"):
        site.start(name)
    site.providers["github"].instead = {"/userinfo": (503, {}), "/token": (503, {})}
    try:
        del site.providers["oidc"].people["slow-left"]
        site.eventually(lambda: not site.runs("slow-left"))
        assert site.runs("slow-away")
    finally:
        site.providers["github"].instead = {}


def test_a_logout_is_one_of_the_own_provider(site: Site) -> None:
    browser = site.person("oidc", "leaves")
    # which would be told what the other one said of somebody
    assert browser.get("/hub/logout/github").headers["Location"] == "/hub/logout"
    assert browser.is_logged_in()
    answer = browser.get("/hub/logout")
    assert answer.headers["Location"] == "/hub/logout/oidc"
    answer = browser.get("/hub/logout/oidc")
    assert answer.headers["Location"].startswith(f"{site.providers['oidc'].url}/end?id_token_hint=")
    assert not browser.is_logged_in()
    browser = site.of_the_table("leaves.too")
    assert browser.get("/hub/logout").headers["Location"] == "/hub/logout/users-table"
    assert browser.get("/hub/logout/users-table").headers["Location"] == "/hub/login"
    assert not browser.is_logged_in()
    assert site.hub.browser().get("/hub/logout").headers["Location"] == "/hub/login"


def test_the_form_still_counts_guesses(site: Site) -> None:
    browser = site.hub.person("guessed")
    for _ in range(10):
        assert browser.login("guessed", "a wrong one").status_code == 403
    answer = browser.login("guessed", PASSWORD)
    assert answer.status_code == 429 and "Too many failed attempts" in answer.text


def test_who_was_made_by_the_api_needs_no_login(site: Site) -> None:
    assert site.service("POST", "/users/made").status_code == 201
    token = site.token_of("made")
    site.eventually(lambda: site.works(token))
    site.rules(**EVERYONE, blocked=["made"])
    site.eventually(lambda: not site.works(token))


WAYS = {
    "users-table": "hubstead_hub.authenticator.UsersTableAuthenticator",
    "oidc": "hubstead_hub.oauth.OpenIDConnect",
    "github": "hubstead_hub.oauth.GitHub",
    "pam": "hubstead_hub.pam.Pam",
    "saml": "hubstead_hub.saml.Saml",
}


class TestOneThatWas:
    """Marks of a way that the settings have no more, and of a table that is away."""

    def several(self, tmp_path: Path, *ways: str) -> Several:
        write(tmp_path / "rules.json", everyone_of=["oidc", "github"])
        return Several(
            config=Config(Saml={"login_service": "Campus"}),
            ways=[(way, WAYS[way]) for way in ways],
            rules_file=str(tmp_path / "rules.json"),
            marks_file=str(tmp_path / "accounts.json"),
        )

    def test_a_way_that_goes_ends_sessions_of_its_own_people(self, tmp_path: Path) -> None:
        before = self.several(tmp_path, "oidc", "github")
        oidc, github = (child.kind for child in before.children)
        before.marks.set({"o": f"{oidc}.1-in", "g": f"{github}.2-in", "made": "-in"})
        after = self.several(tmp_path, "users-table", "oidc")
        table, _ = after.children

        async def nobody(names: Any, active: Any) -> dict[str, str]:
            return {}

        table.standing = nobody
        names = ["o", "g", "made"]
        assert asyncio.run(after.standing(names, [])) == {
            "o": f"{oidc}.1-in", "g": f"{github}.2-", "made": "-in",
        }  # fmt: skip
        stays = {name: after.refresh_user(SimpleNamespace(name=name)) for name in ("g", "made")}
        assert [asyncio.run(one) for one in stays.values()] == [False, True]

    def test_nobody_is_out_because_the_table_is_away(self, tmp_path: Path) -> None:
        several = self.several(tmp_path, "users-table", "oidc")
        table, oidc = several.children

        async def away(names: Any, active: Any) -> dict[str, str]:
            return {}

        table.standing = away
        marks = {"t": "12-0a1b2c3d", "o": f"{oidc.kind}.1-in"}
        several.marks.set(marks)
        assert asyncio.run(several.standing(list(marks), [])) == marks

    def test_a_name_of_the_table_is_its_own_before_a_login(self, tmp_path: Path) -> None:
        """Who is in the Hub by a version without marks."""
        several = self.several(tmp_path, "users-table", "oidc")
        table, oidc = several.children

        async def everybody(names: Any, active: Any) -> dict[str, str]:
            return {"old": "12-0a1b2c3d", "o": "13-0a1b2c3d", "never": "14-0a1b2c3d"}

        table.standing = everybody
        several.marks.set({"o": f"{oidc.kind}.1-in"})
        found = asyncio.run(several.standing(["old", "o"], []))
        assert found == {"old": "12-0a1b2c3d", "o": f"{oidc.kind}.1-in"}

    def test_without_a_form_there_is_a_page_of_buttons(self, tmp_path: Path) -> None:
        several = self.several(tmp_path, "oidc", "github")
        handlers = several.get_handlers(None)
        assert ("/login", ButtonsHandler) in handlers
        paths = [path for path, _ in handlers]
        assert len(set(paths)) == len(paths)
        assert not several.auto_login and not any(each.auto_login for each in several.children)

    def test_saml_keeps_its_addresses(self, tmp_path: Path) -> None:
        """The provider has them by the metadata that it was given."""
        several = self.several(tmp_path, "pam", "saml")
        pam, saml = several.children
        saml.answers = object()
        handlers: dict[str, Any] = dict(several.get_handlers(None))
        for path in ("/saml/login", "/saml/acs", "/saml/metadata", "/saml/logout", "/logout/saml"):
            assert handlers[path].authenticator is saml
        for path in ("/login", "/logout/pam"):
            assert handlers[path].authenticator is pam
        assert several.form is pam and several.buttons == [saml]
