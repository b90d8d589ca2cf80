"""Logins by a SAML provider: which browser's an answer is, who may log in, who may stay.

What an answer has to be is in test_saml_answers.py; a provider with a form is on lab hosts
(tests/converge/test_accounts.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from saml2 import saml
from saml2.s_utils import decode_base64_and_inflate
from saml2.xmldsig import SIG_RSA_SHA256

from tests.kit import running
from tests.kit.identity_server.saml_idp import UID, SamlIdp, sent
from tests.kit.userdb import Cluster, HubUsers, users_table
from tests.unit.hub.accounts import SERVICE_TOKEN, Accounts
from tests.unit.hub.conftest import Browser, Hub, two_ports
from tests.unit.hub.test_saml_answers import ACS, HUB, IDP, base64_of, pair

COOKIE = "__Host-hubstead-saml"
GROUPS = "urn:example:groups"


class Site(Accounts):
    """The Hub, the provider, and who may log in."""

    def __init__(self, hub: Hub, idp: SamlIdp, rules: Path) -> None:
        super().__init__(hub, rules)
        self.idp = idp

    def begin(self, browser: Browser, wanted: str = "/hub/home") -> str:
        """The ID of a request, whose cookie the browser keeps."""
        asked = browser.get(f"/hub/saml/login?next={wanted}")
        kept = next(c for c in browser.session.cookies if c.name == COOKIE)
        header = asked.headers["Set-Cookie"]
        assert kept.secure and "HttpOnly" in header and "SameSite=None" in header
        assert kept.path == "/" and not kept.domain_specified
        # the Hub here has no HTTPS
        kept.secure = False
        message = parse_qs(urlsplit(asked.headers["Location"]).query)["SAMLRequest"][0]
        text = decode_base64_and_inflate(message).decode()
        found: str = text.partition(' ID="')[2].partition('"')[0]
        return found

    def bring(self, browser: Browser, answer: str) -> requests.Response:
        """As the provider's page has a browser do it."""
        kept = "; ".join(f"{c.name}={c.value}" for c in browser.session.cookies if c.name == COOKIE)
        found = browser.session.post(
            f"{self.hub.url}/hub/saml/acs",
            data={"SAMLResponse": sent(answer)},
            headers={"Cookie": kept, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
            allow_redirects=False,
            timeout=30,
        )
        # which the sending of a header of one's own keeps it from
        browser.session.cookies.update(found.cookies)
        return found

    def answer(self, request: str, name: str, **options: Any) -> str:
        groups = options.pop("groups", [])
        told = options.pop("told", {UID: [name], GROUPS: groups})
        return self.idp.answer(request, ACS, HUB, f"id of {name}", told, **options)

    def log_in(self, name: str, **options: Any) -> tuple[Browser, requests.Response]:
        browser = self.hub.browser()
        return browser, self.bring(browser, self.answer(self.begin(browser), name, **options))

    def person(self, name: str, **options: Any) -> Browser:
        browser, answer = self.log_in(name, **options)
        assert (answer.status_code, answer.headers.get("Location")) == (302, "/hub/home")
        return browser


@contextmanager
def serving(users: HubUsers, directory: Path, seconds: int = 600) -> Iterator[Site]:
    """A Hub and its provider; a directory of before has those of before."""
    pairs = {}
    for name in ("hub", "idp"):
        found = directory / f"{name}.key", directory / f"{name}.pem"
        pairs[name] = found if found[0].exists() else pair(directory, name)
    hub = Hub(
        users,
        directory,
        two_ports(),
        configuration="saml_config.py",
        TEST_SERVICE_TOKEN=SERVICE_TOKEN,
        TEST_CERTIFICATE=base64_of(pairs["idp"][1]),
        TEST_KEY_FILE=str(pairs["hub"][0]),
        TEST_CERTIFICATE_FILE=str(pairs["hub"][1]),
        TEST_SESSION_SECONDS=str(seconds),
    )
    with running.running(hub):
        metadata = directory / "hub.xml"
        metadata.write_bytes(hub.browser().get("/hub/saml/metadata").content)
        yield Site(hub, SamlIdp(IDP, *pairs["idp"], [str(metadata)]), directory / "rules.json")


@pytest.fixture(scope="module")
def users(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> HubUsers:
    return users_table(cluster, tmp_path_factory.mktemp("users"), "userdb_saml")


@pytest.fixture(scope="module")
def only_site(users: HubUsers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(users, tmp_path_factory.mktemp("saml")) as site:
        yield site


@pytest.fixture
def site(only_site: Site) -> Site:
    only_site.rules(everyone=True)
    return only_site


def test_there_is_a_button(site: Site) -> None:
    page = site.hub.browser().get("/hub/login?next=/hub/home").text
    assert "Sign in with Campus" in page and "password" not in page.lower()
    assert "/hub/saml/login?next=%2Fhub%2Fhome" in page


def test_who_is_allowed_gets_in_and_others_are_told(site: Site) -> None:
    site.rules(allowed=["ada"], admins=["grace"], blocked=["eve"])
    assert not site.person("ada").api("GET", "/user").json()["admin"]
    assert site.person("grace").api("GET", "/user").json()["admin"]
    for name in ("bob", "eve"):
        browser, answer = site.log_in(name)
        assert answer.status_code == 403 and "you may not use this service" in answer.text
        assert not browser.is_logged_in()


def test_groups_count(site: Site) -> None:
    site.rules(allowed_groups=["lab"], admin_groups=["staff"])
    many = [f"g{number}" for number in range(300)]
    user = site.person("member", groups=[*many, "lab", "staff"]).api("GET", "/user").json()
    assert user["admin"] and sorted(user["groups"]) == ["lab", "staff"]
    assert site.log_in("other", groups=many)[1].status_code == 403
    # another group counts by now, and the provider said at the login who is in it
    site.rules(allowed_groups=["g7"])
    browser = site.hub.browser()
    browser.session.cookies.update(site.person("later", groups=many).session.cookies)
    assert browser.is_logged_in()


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("slow-lists", {"allowed": ["stays"]}),
        ("slow-blocks", {"everyone": True, "blocked": ["slow-blocks"]}),
    ],
)
def test_who_leaves_the_settings_is_out(site: Site, name: str, rules: dict[str, Any]) -> None:
    site.rules(allowed=[name, "stays"])
    browser, stays = site.person(name), site.person("stays")
    token, kept = site.token_of(name), site.token_of("stays")
    site.start(name)
    site.rules(**rules)
    site.eventually(lambda: not browser.is_logged_in() and not site.works(token))
    site.eventually(lambda: not site.runs(name))
    assert stays.is_logged_in() and site.works(kept)
    assert site.log_in(name)[1].status_code == 403


class TestBrowsers:
    """An answer is good for the browser that asked, and there once."""

    def test_who_sends_their_own_answer_to_somebody_logs_in_nobody(self, site: Site) -> None:
        mallory, victim = site.hub.browser(), site.hub.browser()
        answer = site.answer(site.begin(mallory), "mallory")
        assert site.bring(victim, answer).status_code == 403
        site.begin(victim)
        refused = site.bring(victim, answer)
        assert refused.status_code == 403 and "by this answer" in refused.text
        assert not victim.is_logged_in()

    def test_an_answer_counts_once(self, site: Site) -> None:
        browser = site.hub.browser()
        answer = site.answer(site.begin(browser), "once")
        thief = site.hub.browser()
        thief.session.cookies.update(browser.session.cookies)
        assert site.bring(browser, answer).status_code == 302
        # a cookie too was caught
        refused = site.bring(thief, answer)
        assert refused.status_code == 403 and not thief.is_logged_in()
        assert site.bring(browser, answer).status_code == 403

    def test_another_cookie_is_none(self, site: Site) -> None:
        browser = site.hub.browser()
        answer = site.answer(site.begin(browser), "forged")
        (cookie,) = (c for c in browser.session.cookies if c.name == COOKIE)
        cookie.value = str(cookie.value)[:-2]
        assert site.bring(browser, answer).status_code == 403

    def test_tabs_do_not_disturb_one_another(self, site: Site) -> None:
        browser = site.hub.browser()
        first = site.begin(browser, "/hub/home?tab=1")
        site.begin(browser, "/hub/home?tab=2")
        answer = site.bring(browser, site.answer(first, "tabs"))
        assert answer.headers["Location"] == "/hub/home?tab=1"

    @pytest.mark.parametrize(
        "wanted", ["https://evil.example.org/", "//evil.example.org", "/hub/home%3F" + "a" * 5000]
    )
    def test_nobody_is_led_elsewhere(self, site: Site, wanted: str) -> None:
        browser = site.hub.browser()
        answer = site.bring(browser, site.answer(site.begin(browser, wanted), "led"))
        assert answer.status_code == 302 and answer.headers["Location"] == "/hub/spawn"

    def test_what_is_no_answer_is_refused_in_words(self, site: Site) -> None:
        read = site.hub.log.read_text()
        for text in ("", "<a/>", "<!DOCTYPE a>" + "x" * 300):
            browser = site.hub.browser()
            site.begin(browser)
            answer = site.bring(browser, text)
            assert answer.status_code == 403 and "You cannot log in here" in answer.text
        said = site.hub.log.read_text()[len(read) :]
        assert "Refused an answer of the provider's: it " in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({GROUPS: ["lab"]}, "no &#39;uid&#39; of you"),
        ({UID: ["a", "b"]}, "several &#39;uid&#39; of you"),
        ({UID: ["ada"], "uid": ["grace"]}, "several &#39;uid&#39; of you"),
        *(
            ({UID: [name]}, "cannot be a name here")
            for name in ("../x", "a/b", "zoë", "x" * 65, "a b", ".hidden", "a\nb", "admin:x")
        ),
    ],
)
def test_names_that_can_be_none_are_refused(
    site: Site, told: dict[str, list[str]], words: str
) -> None:
    read = site.hub.log.read_text()
    browser, answer = site.log_in("odd", told=told)
    assert answer.status_code == 403 and words in answer.text, answer.text
    assert not browser.is_logged_in()
    assert "Traceback" not in site.hub.log.read_text()[len(read) :]


def test_names_are_mapped_and_then_nobody_elses(site: Site) -> None:
    site.rules(everyone=True, names={"ada@example.org": "ada.l"})
    browser, answer = site.log_in("Ada@Example.org")
    assert answer.status_code == 302
    assert browser.api("GET", "/user").json()["name"] == "ada.l"
    assert site.log_in("ada.l")[1].status_code == 403


def test_a_name_is_the_first_ones(site: Site) -> None:
    persistent = {"name_format": saml.NAMEID_FORMAT_PERSISTENT}
    site.person("taken", **persistent)
    browser = site.hub.browser()
    told = {UID: ["taken"]}
    other = site.answer(site.begin(browser), "another", told=told, **persistent)
    answer = site.bring(browser, other)
    assert answer.status_code == 403 and "another account" in answer.text
    site.person("taken", **persistent)


def test_a_logout_is_one_of_the_provider_too(site: Site) -> None:
    browser = site.person("leaves")
    url = browser.get("/hub/logout").headers["Location"]
    assert url.startswith(f"{IDP}/logout?SAMLRequest=") and "Signature=" in url
    assert not browser.is_logged_in()
    # and from there
    back = browser.get("/hub/saml/logout?SAMLResponse=whatever")
    assert back.headers["Location"] == "/hub/login"


def test_the_provider_logs_out_whom_it_names(site: Site) -> None:
    browser, other = site.person("named"), site.person("unnamed")
    url = f"{HUB.removesuffix('metadata')}logout"
    _, request = site.idp.server.create_logout_request(
        url, site.idp.entity_id, name_id=saml.NameID(text="id of named"), sign=False
    )
    made = site.idp.server.apply_binding(
        "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect",
        str(request), url, sign=True, sigalg=SIG_RSA_SHA256,
    )  # fmt: skip
    query = urlsplit(dict(made["headers"])["Location"]).query
    assert other.get(f"/hub/saml/logout?{query}").status_code == 302
    assert other.is_logged_in()
    answer = browser.get(f"/hub/saml/logout?{query}")
    assert answer.headers["Location"].startswith(f"{IDP}/logout?SAMLResponse=")
    assert not browser.is_logged_in()
    unsigned = {key: value for key, value in parse_qsl(query) if key == "SAMLRequest"}
    refused = other.session.get(f"{site.hub.url}/hub/saml/logout", params=unsigned, timeout=20)
    assert refused.status_code == 403 and "no logout of the login service" in refused.text


def test_who_was_made_by_the_api_needs_no_login(site: Site) -> None:
    assert site.service("POST", "/users/made").status_code == 201
    token = site.token_of("made")
    assert site.works(token)
    site.rules(everyone=True, blocked=["made"])
    site.eventually(lambda: not site.works(token))


def test_what_the_provider_said_is_not_readable(site: Site) -> None:
    site.person("secretive", groups=["a-group-of-few"])
    database = (site.hub.log.parent / "hub.sqlite").read_bytes()
    assert b"a-group-of-few" not in database and b"id of secretive" not in database
    assert "a-group-of-few" not in site.hub.log.read_text()


def test_people_log_in_again_after_a_while_and_servers_go_on(
    users: HubUsers, tmp_path: Path
) -> None:
    """The provider cannot be asked again."""
    with serving(users, tmp_path, seconds=5) as site:
        site.rules(allowed=["slow-short", "slow-leaves"])
        browser = site.person("slow-short")
        site.person("slow-leaves")
        site.start("slow-short")
        site.start("slow-leaves")
        assert browser.is_logged_in()
        site.eventually(lambda: not browser.is_logged_in())
        time.sleep(4)
        assert site.runs("slow-short")
        # rules count then as before
        site.rules(allowed=["slow-short"])
        site.eventually(lambda: not site.runs("slow-leaves"))
        assert site.runs("slow-short")
        browser, answer = site.log_in("slow-short")
        assert answer.status_code == 302 and browser.is_logged_in()


def test_an_answer_counts_once_whatever_the_hub_forgets(users: HubUsers, tmp_path: Path) -> None:
    """It restarts, and does not know what it took before."""
    with serving(users, tmp_path) as site:
        site.rules(everyone=True)
        browser, thief = site.hub.browser(), site.hub.browser()
        answer = site.answer(site.begin(browser), "restarted")
        thief.session.cookies.update(browser.session.cookies)
        assert site.bring(browser, answer).status_code == 302
    with serving(users, tmp_path) as site:
        refused = site.bring(thief, answer)
        assert refused.status_code == 403 and "began no login here" in refused.text
        assert site.log_in("restarted")[1].status_code == 302
