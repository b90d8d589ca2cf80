"""Logins by a directory: a real Hub and a real slapd."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.kit import running
from tests.kit.authority import Authority
from tests.kit.slapd import GROUPS, PASSWORD, PEOPLE, READER_PASSWORD, Slapd, group, person
from tests.kit.userdb import Cluster, users_table
from tests.unit.hub.accounts import SERVICE_TOKEN, Accounts
from tests.unit.hub.conftest import Browser, Hub, two_ports
from tests.unit.hub.test_authenticator import WRONG, From

SECRETS = (PASSWORD, READER_PASSWORD, "a wrong one")


class Site(Accounts):
    """The Hub and the directory, and who may log in."""

    def __init__(self, hub: Hub, slapd: Slapd, rules: Path) -> None:
        super().__init__(hub, rules)
        self.slapd = slapd

    def log_in(self, name: str, password: str = PASSWORD) -> tuple[Browser, requests.Response]:
        browser = self.hub.browser()
        return browser, browser.login(name, password, "/hub/home")

    def person(self, name: str, *lines: str) -> Browser:
        """Somebody whom the directory has, and who has logged in."""
        self.slapd.add(person(name, PEOPLE, *lines))
        browser, answer = self.log_in(name)
        assert (answer.status_code, answer.headers.get("Location")) == (302, "/hub/home")
        return browser

    def leave(self, name: str) -> None:
        self.slapd.delete(f"uid={name},{PEOPLE}")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.issue(["localhost"])
    return authority


@pytest.fixture(scope="module")
def slapd(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    slapd = Slapd(tmp_path_factory.mktemp("slapd"), two_ports(), authority.pair())
    slapd.add(person("ada"))
    yield slapd
    slapd.stop()


def hub_of(slapd: Slapd, cluster: Cluster, tmp: pytest.TempPathFactory, trusted: Path) -> Hub:
    return Hub(
        users_table(cluster, tmp.mktemp("users"), f"userdb_{tmp.mktemp('ldap').name}"),
        tmp.mktemp("ldap"),
        two_ports(),
        configuration="ldap_config.py",
        TEST_DIRECTORY=slapd.url,
        TEST_READER_PASSWORD=READER_PASSWORD,
        TEST_SERVICE_TOKEN=SERVICE_TOKEN,
        SSL_CERT_FILE=str(trusted),
    )


@pytest.fixture(scope="module")
def only_site(
    authority: Authority,
    slapd: Slapd,
    cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    hub = hub_of(slapd, cluster, tmp_path_factory, authority.root)
    with running.running(hub, *SECRETS):
        yield Site(hub, slapd, hub.log.with_name("rules.json"))


@pytest.fixture
def site(only_site: Site) -> Site:
    only_site.rules(everyone=True)
    return only_site


def test_right_wrong_and_unknown(site: Site) -> None:
    for name, password in (
        ("ada", "a wrong one"), ("nobody", PASSWORD), ("ada", ""), ("", ""), ("", PASSWORD),
        ("ada", "\xad"), ("reader", READER_PASSWORD),
    ):  # fmt: skip
        browser, answer = site.log_in(name, password)
        assert (answer.status_code, WRONG in answer.text) == (403, True)
        assert not browser.is_logged_in()
    browser, answer = site.log_in(" Ada ")
    assert answer.status_code == 302
    assert browser.api("GET", "/user").json()["name"] == "ada"


@pytest.mark.parametrize(
    "name",
    ["*)(uid=*", "ad*", "ada)(uid=ada", "a\0da", "x" * 300, "../ada", "ädä\U0001f600", r"\61da"],
)
def test_nonsense_as_a_name(site: Site, name: str) -> None:
    browser, answer = site.log_in(name)
    assert (answer.status_code, WRONG in answer.text) == (403, True)
    assert not browser.is_logged_in()


def test_bytes_that_are_no_text_and_long_passwords(site: Site) -> None:
    assert WRONG in site.log_in("ada", "x" * 1_000_000)[1].text
    browser = site.hub.browser()
    browser.get("/hub/login")
    token = browser.session.cookies.get("_xsrf", path="/hub/")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for fields in ("&username=%ff&password=%fe", ""):
        answer = browser.session.post(
            f"{site.hub.url}/hub/login", data=f"_xsrf={token}{fields}", headers=headers, timeout=20
        )
        assert answer.status_code in {400, 403}


def test_wrong_and_unknown_take_as_long(site: Site) -> None:
    def seconds(name: str) -> float:
        browser = site.hub.browser()
        browser.get("/hub/login")
        begun = time.monotonic()
        assert WRONG in browser.login(name, "a wrong one").text
        return time.monotonic() - begun

    site.slapd.add(person("timed"))
    wrong, unknown = ([seconds(name) for _ in range(4)] for name in ("timed", "untimed"))
    assert abs(statistics.median(wrong) - statistics.median(unknown)) < 0.1


def test_who_may_not_is_told(site: Site) -> None:
    site.rules(allowed=["may"], blocked=["blocked"], admins=["root"])
    assert not site.person("may").api("GET", "/user").json()["admin"]
    assert site.person("root").api("GET", "/user").json()["admin"]
    for name in ("other", "blocked"):
        site.slapd.add(person(name))
        browser, answer = site.log_in(name)
        assert answer.status_code == 403 and "you may not use this service" in answer.text
        assert 'name="password"' in answer.text and not browser.is_logged_in()
        # but only to who knows the password
        assert WRONG in site.log_in(name, "a wrong one")[1].text


@pytest.mark.parametrize(
    ("name", "mapped"), [("a b", "odd1"), ("zoë", "odd2"), ("a/b", "odd3"), ("x" * 65, "odd4")]
)
def test_a_name_of_the_directory_that_can_be_none_here(site: Site, name: str, mapped: str) -> None:
    entry = person(mapped, PEOPLE, f"uid: {name}").replace(f"uid={mapped}", f"cn={mapped}")
    site.slapd.add(entry)
    browser, answer = site.log_in(name)
    assert answer.status_code == 403 and "cannot be a name here" in answer.text
    site.rules(everyone=True, names={name: mapped})
    browser, answer = site.log_in(name)
    assert answer.status_code == 302
    assert browser.api("GET", "/user").json()["name"] == mapped
    # and when it is looked for again
    time.sleep(3)
    assert browser.is_logged_in()


def test_groups_let_in_and_make_admins(site: Site) -> None:
    site.rules(allowed_groups=["lab"], admin_groups=[f"cn=staff,{GROUPS}"])
    site.slapd.add(group("lab", "member", "both"), group("staff", "both"), group("x", "member"))
    assert site.person("both").api("GET", "/user").json()["admin"]
    browser = site.person("member")
    user = browser.api("GET", "/user").json()
    assert (user["admin"], user["groups"]) == (False, ["lab"])
    site.slapd.add(person("outsider"))
    assert site.log_in("outsider")[1].status_code == 403
    site.slapd.modify(f"cn=lab,{GROUPS}", "delete: member", f"member: uid=member,{PEOPLE}")
    site.eventually(lambda: not browser.is_logged_in())


@pytest.mark.parametrize("how", ["directory", "filter", "allowed", "blocked", "another"])
def test_who_leaves_loses_session_token_and_server(site: Site, how: str) -> None:
    name, stays = f"slow-{how}", f"slow-{how}-stays"
    site.rules(allowed=[name, stays])
    browser, other = site.person(name), site.person(stays)
    token, kept = site.token_of(name), site.token_of(stays)
    site.start(name)
    site.start(stays)
    if how == "directory":
        site.leave(name)
    elif how == "filter":
        site.slapd.modify(f"uid={name},{PEOPLE}", "replace: employeeType", "employeeType: gone")
    elif how == "allowed":
        site.rules(allowed=[stays])
    elif how == "blocked":
        site.rules(everyone=True, blocked=[name])
    else:
        # somebody else gets the name
        site.leave(name)
        site.slapd.add(person(name))
    site.eventually(lambda: not site.runs(name))
    assert not browser.is_logged_in() and not site.works(token)
    assert site.log_in(name)[1].status_code == 403
    assert other.is_logged_in() and site.works(kept) and site.runs(stays)


def test_nobody_is_out_because_the_directory_is(site: Site) -> None:
    browser = site.person("slow-bears")
    site.start("slow-bears")
    read = len(site.hub.log.read_text())
    site.slapd.stop()
    try:
        site.eventually(lambda: "Keeping the session of" in site.hub.log.read_text()[read:])
        for _ in range(12):
            _, answer = site.log_in("ada")
            assert answer.status_code == 503 and "Retry-After" in answer.headers
        assert "does not answer at the moment" in answer.text
        assert 'name="password"' in answer.text
        assert browser.is_logged_in() and site.runs("slow-bears")
    finally:
        site.slapd.start()
    assert "Nobody can log in: the directory: ldap://localhost" in site.hub.log.read_text()[read:]
    site.eventually(lambda: site.log_in("ada")[1].status_code == 302)
    assert browser.is_logged_in() and site.runs("slow-bears")


def test_nobody_is_out_because_the_account_that_searches_is(site: Site) -> None:
    """Neither one that cannot log in any more, nor one that has lost its rights."""
    browser = site.person("bears-rights")
    reader = "cn=reader,dc=example,dc=org"
    site.slapd.modify(reader, "replace: userPassword", "userPassword: another")
    read = len(site.hub.log.read_text())
    try:
        site.eventually(lambda: "invalidCredentials" in site.hub.log.read_text()[read:])
        assert browser.is_logged_in() and site.log_in("ada")[1].status_code == 503
    finally:
        site.slapd.modify(reader, "replace: userPassword", f"userPassword: {READER_PASSWORD}")
    site.eventually(lambda: site.log_in("ada")[1].status_code == 302)
    assert browser.is_logged_in()


def test_guessing_is_slowed_down_for_that_name_only(site: Site) -> None:
    site.slapd.add(person("guessed"))
    with ThreadPoolExecutor(12) as executor:
        codes = list(
            executor.map(lambda _: site.log_in("guessed", "a wrong one")[1].status_code, range(12))
        )
    assert sorted(codes) == [403] * 10 + [429] * 2
    _, answer = site.log_in("guessed")
    assert answer.status_code == 429 and "Too many failed attempts" in answer.text
    assert site.log_in("ada")[1].status_code == 302


def test_a_flood_from_one_address_delays_nobody_else(site: Site) -> None:
    """400 wrong logins at once, from where a server of somebody's is."""
    done: list[int] = []

    def flood(number: int) -> None:
        browser = site.hub.browser()
        browser.session.mount("http://", From("127.0.0.3"))
        done.append(browser.login(f"ada{number % 50}", "a wrong one").status_code)

    with ThreadPoolExecutor(100) as executor:
        threading.Thread(target=lambda: list(executor.map(flood, range(400)))).start()
        time.sleep(0.5)
        logins = 0
        while len(done) < 300:
            assert site.log_in("ada")[1].status_code == 302
            logins += 1
    assert set(done) == {403} and len(done) == 400
    # who waits behind all others gets in once
    assert logins > 5


def test_the_hub_goes_on_while_the_directory_is_slow(site: Site) -> None:
    os.kill(site.slapd.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(20) as executor:
            answers = [executor.submit(site.log_in, f"slow{number}") for number in range(20)]
            healthy = 0
            while not all(each.done() for each in answers):
                assert site.hub.browser().get("/hub/health").ok
                healthy += 1
            # who waits for the directory gets one
            assert healthy > 5
            assert {each.result()[1].status_code for each in answers} == {503}
    finally:
        os.kill(site.slapd.pid, signal.SIGCONT)
    site.eventually(lambda: site.log_in("ada")[1].status_code == 302)


def test_a_server_that_cannot_be_verified_lets_nobody_in(
    slapd: Slapd, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nobody = Authority(tmp_path_factory.mktemp("other"))
    nobody.issue(["localhost"])
    hub = hub_of(slapd, cluster, tmp_path_factory, nobody.root)
    with running.running(hub, *SECRETS):
        site = Site(hub, slapd, hub.log.with_name("rules.json"))
        site.rules(everyone=True)
        assert site.log_in("ada")[1].status_code == 503
    (line,) = [line for line in hub.log.read_text().splitlines() if "Nobody can log in" in line]
    assert "certificate verify failed" in line
