"""A real JupyterHub lets people in by the users table."""

import time
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

PASSWORD = "correct horse"
NEW_PASSWORD = "battery staple"
WRONG = "Invalid username or password"


def test_right_wrong_and_unknown(hub: Any) -> None:
    browser = hub.browser()
    for name, password in (("ada", "wrong horse"), ("nobody", PASSWORD), ("ada", ""), ("", "")):
        answer = browser.login(name, password)
        assert (answer.status_code, WRONG in answer.text) == (403, True)
        assert not browser.is_logged_in()
    assert browser.login(" Ada ").status_code == 302
    assert browser.is_logged_in()


def test_no_hub_rule_stands_in_the_way_and_none_is_lost(hub: Any) -> None:
    assert "No allow config found" not in hub.log.read_text()
    assert WRONG in hub.person("blocked").login("blocked").text


@pytest.mark.parametrize(
    "name",
    [
        "' OR '1'='1",
        "ada'--",
        "ada' UNION SELECT 1,'ada','x',true,true,false,false,now(),now()--",
        "ada\0",
        "%",
        "../ada",
        "a" * 100_000,
        "ädä\U0001f600",
    ],
)
def test_nonsense_as_a_name(hub: Any, name: str) -> None:
    answer = hub.browser().login(name, "' OR '1'='1")
    assert (answer.status_code, WRONG in answer.text) == (403, True)


@pytest.mark.parametrize(
    "password", ["x" * 10_000_000, "nul\0nul\0nul", "x" * 73, "ä" * 37, "\U0001f600" * 200]
)
def test_passwords_that_bcrypt_cannot_take(hub: Any, password: str) -> None:
    name = f"long{len(password)}"
    browser = hub.person(name)
    start = time.monotonic()
    answer = browser.login(name, password)
    assert (answer.status_code, WRONG in answer.text) == (403, True)
    assert time.monotonic() - start < 5
    answer = browser.change_password(password, NEW_PASSWORD, username=name)
    assert (answer.status_code, WRONG in answer.text) == (403, True)
    answer = browser.change_password(PASSWORD, password, username=name)
    assert (answer.status_code, "The password " in answer.text) == (400, True)


def test_bytes_that_are_no_text(hub: Any) -> None:
    browser = hub.browser()
    browser.get("/hub/login")
    for path in ("/hub/login", "/hub/change-password"):
        token = browser.session.cookies.get("_xsrf", path="/hub/")
        body = f"_xsrf={token}&username=%ff&password=%fe".encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = browser.session.post(hub.url + path, data=body, headers=headers, timeout=20)
        assert answer.status_code in {400, 403}
        answer = browser.session.post(
            hub.url + path, data=f"_xsrf={token}".encode(), headers=headers, timeout=20
        )
        assert answer.status_code in {400, 403}


def test_disabled_is_answered_as_wrong(hub: Any) -> None:
    browser = hub.person("edsger")
    hub.hub_users.ok("disable", "edsger")
    answer = browser.login("edsger")
    assert (answer.status_code, WRONG in answer.text) == (403, True)
    answer = browser.change_password(PASSWORD, NEW_PASSWORD, username="edsger")
    assert (answer.status_code, WRONG in answer.text) == (403, True)


def test_disabled_while_logged_in(hub: Any) -> None:
    browser = hub.logged_in("barbara")
    token = browser.api("POST", "/users/barbara/tokens", json={}).json()["token"]

    def token_works() -> bool:
        answer = requests.get(
            f"{hub.url}/hub/api/user", headers={"Authorization": f"token {token}"}, timeout=20
        )
        return answer.status_code == 200

    assert token_works()
    hub.hub_users.ok("disable", "barbara")
    hub.eventually(lambda: not browser.is_logged_in())
    hub.eventually(lambda: not token_works())
    answer = browser.get("/hub/home")
    assert answer.headers["Location"].startswith("/hub/login")
    hub.hub_users.ok("enable", "barbara")
    assert browser.login("barbara").status_code == 302 and not token_works()
    hub.hub_users.ok("remove", "barbara", "--yes")
    hub.eventually(lambda: not browser.is_logged_in())


def test_a_server_starts_only_for_who_is_enabled(hub: Any) -> None:
    browser = hub.logged_in("donald")
    hub.hub_users.ok("disable", "donald")
    # At once, not after auth_refresh_age.
    assert browser.api("POST", "/users/donald/server").status_code == 403
    log = hub.log.read_text()
    assert "donald" in log and "RuntimeError: started" not in log


def test_admin_follows_the_table(hub: Any) -> None:
    browser = hub.logged_in("grace")
    assert browser.get("/hub/admin").status_code == 403
    hub.hub_users.ok("admin", "grace")
    hub.eventually(lambda: browser.get("/hub/admin").status_code == 200)
    hub.hub_users.ok("admin", "grace", "--revoke", "--force")
    hub.eventually(lambda: browser.get("/hub/admin").status_code == 403)
    assert browser.is_logged_in()


def test_an_admin_is_one_from_the_first_page_on(hub: Any) -> None:
    assert hub.logged_in("margaret", "--admin").get("/hub/admin").status_code == 200


@pytest.mark.parametrize("path", ["/hub/login", "/hub/change-password"])
@pytest.mark.parametrize("token", [None, "forged"])
def test_forms_of_other_sites_are_refused(hub: Any, path: str, token: str | None) -> None:
    browser = hub.browser()
    browser.get(path)
    fields = {
        "username": "ada",
        "password": PASSWORD,
        "new_password": NEW_PASSWORD,
        "new_password_again": NEW_PASSWORD,
    }
    if token:
        fields["_xsrf"] = token
    answer = browser.session.post(hub.url + path, data=fields, timeout=20, allow_redirects=False)
    assert answer.status_code == 403
    assert "Try again" in answer.text
    assert not browser.is_logged_in()
    assert hub.browser().login("ada").status_code == 302


def test_guessing_is_slowed_down_for_that_name_only(hub: Any) -> None:
    browser = hub.person("rear.admiral")
    answers = [browser.login("rear.admiral", f"guess {number}") for number in range(12)]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 300
    assert "Too many failed attempts" in answers[-1].text
    assert browser.login("rear.admiral").status_code == 429
    answer = browser.change_password(PASSWORD, NEW_PASSWORD, username="rear.admiral")
    assert (answer.status_code, "Too many failed attempts" in answer.text) == (429, True)
    assert hub.browser().login("ada").status_code == 302


class From(HTTPAdapter):
    """Connects from an address of this machine."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, source_address=(self.address, 0))


@pytest.mark.parametrize(("peer", "last"), [("127.0.0.1", 403), ("127.0.0.2", 429)])
def test_no_users_server_tells_where_a_login_comes_from(hub: Any, peer: str, last: int) -> None:
    browser, answers = hub.person(f"known-to-{peer}"), []
    browser.session.mount("http://", From(peer))
    for number in range(11):
        claimed = {"X-Real-IP": f"203.0.113.{number}", "X-Forwarded-For": f"203.0.113.{number}"}
        browser.session.headers.update(claimed)
        answers.append(browser.login(f"known-to-{peer}", "guess").status_code)
    assert answers == [403] * 10 + [last]


def test_the_database_goes_and_comes_back(hub: Any) -> None:
    logged_in, browser = hub.logged_in("joan"), hub.browser()
    hub.hub_users.cluster.stop()
    try:
        for _ in range(12):
            answer = browser.login("ada")
            assert answer.status_code == 503
        assert "does not answer at the moment" in answer.text
        assert "Retry-After" in answer.headers
        assert 'name="password"' in answer.text
        answer = browser.change_password(PASSWORD, NEW_PASSWORD, username="ada")
        assert (answer.status_code, "does not answer" in answer.text) == (503, True)
        time.sleep(1.1)
        assert logged_in.is_logged_in()
        assert "Keeping the session of joan" in hub.log.read_text()
    finally:
        hub.hub_users.cluster.start()
    hub.eventually(lambda: browser.login("ada").status_code == 302, 5)
    assert logged_in.is_logged_in()


def test_forty_people_log_in_at_once(hub: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    names = [f"pupil{number}" for number in range(40)]
    entries = "".join(f"{name},{PASSWORD}\n" for name in names)
    path = Path(hub.log).with_name("class.csv")
    path.write_text(f"username,password\n{entries}")
    hub.hub_users.ok("import", path)
    with ThreadPoolExecutor(40) as executor:
        codes = list(executor.map(lambda name: hub.browser().login(name).status_code, names))
    assert codes == [302] * 40


def test_the_hub_keeps_no_connection_open(hub: Any) -> None:
    with hub.hub_users.cluster.superuser("userdb_hub") as superuser:
        row = superuser.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jupyterhub'"
        ).fetchone()
    assert row == (0,)
