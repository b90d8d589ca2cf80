"""Logins by a provider: who may log in, who may stay, and what is somebody else's.

The provider is a few lines here, which say what is wrong when a test wants it; a real one is asked
on lab hosts (tests/converge/test_accounts.py).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from hubstead_hub.may_stay import StillEnding
from hubstead_hub.oauth import OpenIDConnect
from hubstead_hub.sessions import Ends, account_of
from tests.kit import running
from tests.kit.userdb import Cluster, users_table
from tests.unit.hub.accounts import SERVICE_TOKEN, Accounts
from tests.unit.hub.conftest import Browser, Hub, two_ports
from tests.unit.hub.test_rules import write

CONFIGURATION = "oidc_config.py"


class Provider(ThreadingHTTPServer):
    """People by name; tokens of theirs; and what it answers instead, where a test says so."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.people: dict[str, dict[str, Any]] = {}
        self.access: dict[str, str] = {}
        self.refresh: dict[str, str] = {}
        #: Whether it gives refresh tokens, and seconds that it tells of others
        self.lasting, self.expires_in = True, 3
        #: Path to the status and the document that are answered there
        self.instead: dict[str, tuple[int, Any]] = {}
        self.headers: dict[str, str] = {}

    def tokens(self, name: str) -> dict[str, Any]:
        """New ones; the refresh tokens of before are none any more."""
        self.refresh = {token: whose for token, whose in self.refresh.items() if whose != name}
        access, refresh = secrets.token_hex(8), secrets.token_hex(8)
        self.access[access], self.refresh[refresh] = name, name
        return {
            "access_token": access,
            **({"refresh_token": refresh} if self.lasting else {}),
            "expires_in": self.expires_in,
            "token_type": "Bearer",
            "id_token": f"id of {name}",
        }

    def expire(self, name: str) -> None:
        """End the access tokens of somebody, whose refresh token is as good as before."""
        self.access = {token: whose for token, whose in self.access.items() if whose != name}

    def person(self, name: str, **claims: Any) -> None:
        self.people[name] = {"sub": f"sub of {name}", "preferred_username": name, **claims}


class Answers(BaseHTTPRequestHandler):
    server: Provider

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self, status: int, document: Any, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def do_POST(self) -> None:
        query = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        name = query.get("code", [""])[0]
        if "refresh_token" in query:
            name = self.server.refresh.get(query["refresh_token"][0], "")
        if self.path in self.server.instead:
            status, document = self.server.instead[self.path]
            self._answer(status, document, **self.server.headers)
        elif query["client_secret"] != ["the secret of the client"]:
            self._answer(401, {"error": "invalid_client"})
        elif name not in self.server.people:
            self._answer(400, {"error": "invalid_grant"})
        else:
            self._answer(200, self.server.tokens(name))

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        person = self.server.people.get(self.server.access.get(token, ""))
        if self.path in self.server.instead:
            status, document = self.server.instead[self.path]
            self._answer(status, document, **self.server.headers)
        else:
            self._answer(200 if person else 401, person or {"error": "invalid_token"})


class Site(Accounts):
    """The Hub and the provider, and who may log in."""

    def __init__(self, hub: Hub, provider: Provider, rules: Path) -> None:
        super().__init__(hub, rules)
        self.provider = provider

    def log_in(self, name: str) -> tuple[Browser, requests.Response]:
        """As a browser does it, without the provider's pages."""
        browser = self.hub.browser()
        asked = browser.get("/hub/oauth_login?next=/hub/home")
        query = parse_qs(urlsplit(asked.headers["Location"]).query)
        assert query["code_challenge_method"] == ["S256"]
        state = query["state"][0]
        return browser, browser.session.get(
            f"{self.hub.url}/hub/oauth_callback",
            params={"code": name, "state": state},
            allow_redirects=False,
            timeout=20,
        )

    def person(self, name: str, **claims: Any) -> Browser:
        """Somebody who is known to the provider, and has logged in."""
        self.provider.person(name, **claims)
        browser, answer = self.log_in(name)
        assert (answer.status_code, answer.headers.get("Location")) == (302, "/hub/home")
        return browser


@pytest.fixture(scope="module")
def only_site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("oidc")
    provider = Provider()
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    hub_users = users_table(cluster, tmp_path_factory.mktemp("users"), "userdb_oidc")
    hub = Hub(
        hub_users,
        directory,
        two_ports(),
        configuration=CONFIGURATION,
        TEST_PROVIDER=provider.url,
        TEST_SERVICE_TOKEN=SERVICE_TOKEN,
    )
    with running.running(hub):
        yield Site(hub, provider, directory / "rules.json")
    provider.shutdown()


@pytest.fixture
def site(only_site: Site) -> Site:
    only_site.provider.instead, only_site.provider.headers = {}, {}
    only_site.rules(everyone=True)
    return only_site


def test_who_is_allowed_gets_in_and_others_are_told(site: Site) -> None:
    site.rules(allowed=["ada"], admins=["grace"], blocked=["eve"])
    assert not site.person("ada").api("GET", "/user").json()["admin"]
    assert site.person("grace").api("GET", "/user").json()["admin"]
    for name in ("bob", "eve"):
        site.provider.person(name)
        browser, answer = site.log_in(name)
        assert answer.status_code == 403 and "you may not use this service" in answer.text
        assert not browser.is_logged_in()


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("lists", {"everyone": False}),
        ("blocks", {"everyone": True, "blocked": ["blocks"]}),
    ],
)
def test_who_leaves_the_settings_is_out(site: Site, name: str, rules: dict[str, Any]) -> None:
    site.rules(allowed=[name, "stays"])
    browser, stays = site.person(name), site.person("stays")
    token, kept = site.token_of(name), site.token_of("stays")
    site.rules(**{"allowed": ["stays"], **rules})
    site.eventually(lambda: not browser.is_logged_in() and not site.works(token))
    assert stays.is_logged_in() and site.works(kept)
    assert site.log_in(name)[1].status_code == 403


def test_who_leaves_the_provider_loses_the_server_too(site: Site) -> None:
    site.person("slow-gone")
    site.person("slow-stays")
    token = site.token_of("slow-gone")
    site.start("slow-gone")
    site.start("slow-stays")
    del site.provider.people["slow-gone"]
    site.eventually(lambda: not site.runs("slow-gone"))
    assert not site.works(token)
    assert site.runs("slow-stays")


def test_who_leaves_a_group_is_out(site: Site) -> None:
    site.rules(allowed_groups=["lab"], admin_groups=["staff"])
    browser = site.person("member", groups=["lab", "staff", *map(str, range(300))])
    user = browser.api("GET", "/user").json()
    assert user["admin"] and sorted(user["groups"]) == ["lab", "staff"]
    site.provider.person("member", groups=["lab"])
    site.eventually(lambda: not browser.api("GET", "/user").json().get("admin"))
    assert browser.is_logged_in()
    # of over 200 groups some providers tell none
    site.provider.person("member")
    site.eventually(lambda: not browser.is_logged_in())


def test_tokens_of_the_provider_are_renewed(site: Site) -> None:
    """Each refresh token is good for once."""
    site.person("slow-long")
    site.start("slow-long")
    for _ in range(3):
        before = dict(site.provider.refresh)
        site.provider.expire("slow-long")
        site.eventually(lambda before=before: site.provider.refresh != before)  # type: ignore[misc]
    assert site.runs("slow-long")


def test_who_cannot_be_asked_about_logs_in_again(site: Site) -> None:
    """A provider without refresh tokens, whose other tokens end."""
    site.provider.lasting, site.provider.expires_in = False, 0
    try:
        browser = site.person("slow-short")
        site.start("slow-short")
        site.provider.expire("slow-short")
        site.eventually(lambda: not browser.is_logged_in())
        time.sleep(5)
        assert site.runs("slow-short")
        browser, answer = site.log_in("slow-short")
        assert answer.status_code == 302 and browser.is_logged_in()
        # before it has ended by itself, that it is none says something of the person
        site.provider.expires_in = 3600
        browser, answer = site.log_in("slow-short")
        del site.provider.people["slow-short"]
        site.eventually(lambda: not site.runs("slow-short"))
    finally:
        site.provider.lasting, site.provider.expires_in = True, 3


@pytest.mark.parametrize(
    "instead",
    [
        {"/userinfo": (503, {}), "/token": (503, {})},
        {"/userinfo": (200, None), "/token": (429, {})},
        {"/userinfo": (401, {}), "/token": (401, {"error": "invalid_client"})},
        # as GitHub answers who asked too often
        {"/userinfo": (403, {}), "/token": (403, {}), "X_RateLimit_Remaining": "0"},
    ],
)
def test_nobody_is_out_because_the_provider_is(site: Site, instead: dict[str, Any]) -> None:
    name = f"slow-bears-{instead['/token'][0]}"
    browser = site.person(name)
    site.start(name)
    site.provider.headers = {key: one for key, one in instead.items() if "/" not in key}
    site.provider.instead = {key: one for key, one in instead.items() if "/" in key}
    read = site.hub.log.read_text()
    site.eventually(lambda: "Keeping the session of" in site.hub.log.read_text()[len(read) :])
    assert browser.is_logged_in() and site.runs(name)
    _, answer = site.log_in(name)
    assert answer.status_code == 503
    said = site.hub.log.read_text()[len(read) :]
    assert "Nobody can log in" in said
    assert "Traceback" not in said and "the secret of the client" not in said


def test_a_name_is_the_first_ones(site: Site) -> None:
    site.person("taken")
    site.provider.person("taken", sub="another")
    _, answer = site.log_in("taken")
    assert answer.status_code == 403 and "another account" in answer.text
    assert site.service("DELETE", "/users/taken").status_code == 204
    site.eventually(lambda: site.log_in("taken")[1].status_code == 302)


def test_of_two_at_once_one_has_the_name(site: Site) -> None:
    site.rules(everyone=True, names={"one": "both.had", "two": "both.had"})
    for name in ("one", "two"):
        site.provider.person(name)
    with ThreadPoolExecutor(2) as pool:
        answers = [answer for _, answer in pool.map(site.log_in, ("one", "two"))]
    assert sorted(answer.status_code for answer in answers) == [302, 403]


def test_an_error_about_one_leaves_nobody_else_unseen(site: Site) -> None:
    """What the provider says of one cannot be read."""
    site.person("slow-odd")
    site.person("slow-next")
    site.start("slow-odd")
    site.start("slow-next")
    site.provider.person("slow-odd", groups={"a": {}})
    del site.provider.people["slow-next"]
    site.eventually(lambda: not site.runs("slow-next"))
    assert site.runs("slow-odd")


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "zoë", "x" * 65, "a b", ".hidden", "", "a\nb", "admin:x", None, ["a"]]
)
def test_names_that_can_be_none_are_refused(site: Site, name: Any) -> None:
    site.provider.person("odd", preferred_username=name)
    read = site.hub.log.read_text()
    browser, answer = site.log_in("odd")
    assert answer.status_code == 403 and answer.text.count("You cannot log in here") == 1
    assert not browser.is_logged_in()
    assert "Traceback" not in site.hub.log.read_text()[len(read) :]


def test_names_are_mapped_and_then_nobody_elses(site: Site) -> None:
    site.rules(everyone=True, names={"ada@example.org": "ada.l"})
    site.provider.person("mail", preferred_username="Ada@Example.org")
    browser, answer = site.log_in("mail")
    assert answer.status_code == 302
    assert browser.api("GET", "/user").json()["name"] == "ada.l"
    site.provider.person("thief", preferred_username="ada.l")
    assert site.log_in("thief")[1].status_code == 403


def test_a_logout_is_one_of_the_provider_too(site: Site) -> None:
    browser = site.person("leaves")
    answer = browser.get("/hub/logout")
    target = urlsplit(answer.headers["Location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == f"{site.provider.url}/end"
    assert parse_qs(target.query) == {
        "id_token_hint": ["id of leaves"],
        "client_id": ["hub"],
        "post_logout_redirect_uri": ["https://hub.example.org/"],
    }
    assert not browser.is_logged_in()


def test_who_was_made_by_the_api_needs_no_login(site: Site) -> None:
    assert site.service("POST", "/users/made").status_code == 201
    token = site.token_of("made")
    assert site.works(token)
    site.rules(everyone=True, blocked=["made"])
    site.eventually(lambda: not site.works(token))


def test_nothing_secret_is_readable(site: Site) -> None:
    site.person("secretive")
    database = (site.hub.log.parent / "hub.sqlite").read_bytes()
    tokens = [*site.provider.access, *site.provider.refresh]
    assert len(tokens) > 2
    log = site.hub.log.read_text()
    for token in tokens:
        assert token.encode() not in database and token not in log
    # who is refused has a code, which nobody took
    site.log_in("a-code-of-nobody")
    assert "a-code-of-nobody" not in site.hub.log.read_text()


def test_a_login_of_somebody_elses_browser_is_none(site: Site) -> None:
    """Who sends their own callback to somebody would log them in as themselves."""
    site.provider.person("mallory")
    browser = site.hub.browser()
    asked = browser.get("/hub/oauth_login")
    state = parse_qs(urlsplit(asked.headers["Location"]).query)["state"][0]
    victim = site.hub.browser()
    answer = victim.get(f"/hub/oauth_callback?code=mallory&state={state}")
    assert answer.status_code == 400 and not victim.is_logged_in()


class TestAnotherWayBefore:
    """Names whose sessions are still those of another way to log in."""

    @pytest.fixture
    def way(self, tmp_path: Path) -> OpenIDConnect:
        rules = tmp_path / "rules.json"
        write(rules, everyone=True)
        return OpenIDConnect(
            issuer="https://login.example.org",
            rules_file=str(rules),
            marks_file=str(tmp_path / "accounts.json"),
        )

    def found(self) -> dict[str, Any]:
        return {"name": "ada", "auth_state": {"oauth_user": {"sub": "1"}}}

    @pytest.mark.parametrize("mark", ["12-0a1b2c3d", "github_5e.0f-in"])
    def test_nobody_comes_in_before_those_have_ended(self, way: OpenIDConnect, mark: str) -> None:
        way.marks.set({"ada": mark})
        with pytest.raises(StillEnding):
            way._in_our_terms(self.found())
        way.marks.set({"ada": f"{account_of(mark)}-"})
        assert way._in_our_terms(self.found())["name"] == "ada"

    def test_a_look_leaves_alone_who_logs_in_meanwhile(self, way: OpenIDConnect) -> None:
        """It waits for the provider; who comes in until then is as they came in."""
        app: Any = SimpleNamespace(
            authenticator=way,
            users={},
            db=SimpleNamespace(
                query=lambda *_: [("ada", None), ("bob", None)], rollback=lambda: None
            ),
            log=way.log,
        )
        way.marks.set({"ada": "12-", "new": "other-in"})

        async def standing(names: Any, active: Any) -> dict[str, str]:
            answer = await OpenIDConnect.standing(way, names, active)
            way.marks.set({"ada": "own.1-in", "bob": "own.2-in", "late": "own.3-in"})
            return answer

        way.standing = standing  # type: ignore[method-assign]
        asyncio.run(Ends(app).look())
        assert {name: way.marks.get(name) for name in ("ada", "bob", "late", "new")} == {
            "ada": "own.1-in", "bob": "own.2-in", "late": "own.3-in", "new": None,
        }  # fmt: skip
