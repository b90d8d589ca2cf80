"""A real JupyterHub lets people in by the users table."""

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import requests

PASSWORD = "correct horse"
NEW_PASSWORD = "battery staple"
WRONG = "Invalid username or password"


class Browser:
    """A person's browser: keeps cookies, fills in the forms it was shown, runs no script."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.url + path, allow_redirects=False, timeout=20)

    def post(self, path: str, **fields: str) -> requests.Response:
        """Send the form at ``path`` with what its hidden fields hold."""
        page = self.get(path).text
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
        (action,) = re.findall(r'<form[^>]* action=[\'"]([^\'"]*)[\'"]', page)
        return self.session.post(
            self.url + unescape(action),
            data={name: unescape(value) for name, value in hidden.items()} | fields,
            allow_redirects=False,
            timeout=30,
        )

    def login(self, username: str, password: str = PASSWORD, next_url: str = "") -> Any:
        query = f"?next={next_url}" if next_url else ""
        return self.post(f"/hub/login{query}", username=username, password=password)

    def change_password(
        self, current: str, new: str, again: str | None = None, path: str = "", **fields: str
    ) -> requests.Response:
        return self.post(
            path or "/hub/change-password",
            password=current,
            new_password=new,
            new_password_again=new if again is None else again,
            **fields,
        )

    def is_logged_in(self) -> bool:
        return self.get("/hub/home").status_code == 200

    def api(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Call the REST API as the Hub's own pages do."""
        return self.session.request(
            method,
            self.url + "/hub/api" + path,
            headers={"X-XSRFToken": self.session.cookies.get("_xsrf", path="/hub/") or ""},
            timeout=20,
            **kwargs,
        )


class Hub:
    """A running JupyterHub with its users table."""

    def __init__(self, hub_users: Any, directory: Path, ports: tuple[int, int]) -> None:
        self.hub_users = hub_users
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.log = directory / "log"
        environment = hub_users.environment | {
            "TEST_HUB_URL": self.url,
            "TEST_PUBLIC_URL": f"http://127.0.0.1:{ports[1]}",
            "TEST_READER_DSN": str(hub_users.reader_dsn),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", Path(__file__).with_name("hub_config.py")],
            cwd=directory,
            env=environment,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> None:
        """Until the Hub answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if Browser(self.url).get("/hub/health").ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)

    def browser(self) -> Browser:
        return Browser(self.url)

    def person(self, name: str, *options: str) -> Browser:
        """Add a user, return their browser."""
        self.hub_users.ok("add", name, "--password-stdin", *options, stdin=f"{PASSWORD}\n")
        return self.browser()

    def logged_in(self, name: str, *options: str) -> Browser:
        """Add a user, return a browser in which they are logged in."""
        browser = self.person(name, *options)
        assert browser.login(name).status_code == 302
        return browser


@pytest.fixture(scope="module")
def hub(
    module_hub_users: Any, tmp_path_factory: pytest.TempPathFactory, free_ports: tuple[int, int]
) -> Iterator[Hub]:
    hub = Hub(module_hub_users, tmp_path_factory.mktemp("hub"), free_ports)
    try:
        hub.wait()
        yield hub
    finally:
        hub.stop()
    log = hub.log.read_text()
    assert "Traceback" not in log
    assert PASSWORD not in log and NEW_PASSWORD not in log


def eventually(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Check until true: the Hub looks at the table once a second in these tests."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_right_wrong_and_unknown(hub: Hub) -> None:
    browser = hub.person("ada")
    for name, password in (("ada", "wrong horse"), ("nobody", PASSWORD), ("ada", ""), ("", "")):
        answer = browser.login(name, password)
        assert (answer.status_code, WRONG in answer.text) == (403, True)
        assert not browser.is_logged_in()
    assert browser.login(" Ada ").status_code == 302
    assert browser.is_logged_in()


def test_no_hub_rule_stands_in_the_way_and_none_is_lost(hub: Hub) -> None:
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
def test_nonsense_as_a_name(hub: Hub, name: str) -> None:
    answer = hub.browser().login(name, "' OR '1'='1")
    assert (answer.status_code, WRONG in answer.text) == (403, True)


@pytest.mark.parametrize(
    "password", ["x" * 10_000_000, "nul\0nul\0nul", "x" * 73, "ä" * 37, "\U0001f600" * 200]
)
def test_passwords_that_bcrypt_cannot_take(hub: Hub, password: str) -> None:
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


def test_bytes_that_are_no_text(hub: Hub) -> None:
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


def test_disabled_is_answered_as_wrong(hub: Hub) -> None:
    browser = hub.person("edsger")
    hub.hub_users.ok("disable", "edsger")
    answer = browser.login("edsger")
    assert (answer.status_code, WRONG in answer.text) == (403, True)
    answer = browser.change_password(PASSWORD, NEW_PASSWORD, username="edsger")
    assert (answer.status_code, WRONG in answer.text) == (403, True)


def test_disabled_while_logged_in(hub: Hub) -> None:
    browser = hub.logged_in("barbara")
    token = browser.api("POST", "/users/barbara/tokens", json={}).json()["token"]

    def token_works() -> bool:
        answer = requests.get(
            f"{hub.url}/hub/api/user", headers={"Authorization": f"token {token}"}, timeout=20
        )
        return answer.status_code == 200

    assert token_works()
    hub.hub_users.ok("disable", "barbara")
    eventually(lambda: not browser.is_logged_in())
    eventually(lambda: not token_works())
    answer = browser.get("/hub/home")
    assert answer.headers["Location"].startswith("/hub/login")
    hub.hub_users.ok("enable", "barbara")
    eventually(browser.is_logged_in)
    hub.hub_users.ok("remove", "barbara", "--yes")
    eventually(lambda: not browser.is_logged_in())


def test_a_server_starts_only_for_who_is_enabled(hub: Hub) -> None:
    browser = hub.logged_in("donald")
    hub.hub_users.ok("disable", "donald")
    # At once, not after auth_refresh_age.
    assert browser.api("POST", "/users/donald/server").status_code == 403
    log = hub.log.read_text()
    assert "donald" in log and "RuntimeError: started" not in log


def test_admin_follows_the_table(hub: Hub) -> None:
    browser = hub.logged_in("grace")
    assert browser.get("/hub/admin").status_code == 403
    hub.hub_users.ok("admin", "grace")
    eventually(lambda: browser.get("/hub/admin").status_code == 200)
    hub.hub_users.ok("admin", "grace", "--revoke", "--force")
    eventually(lambda: browser.get("/hub/admin").status_code == 403)
    assert browser.is_logged_in()


def test_an_admin_is_one_from_the_first_page_on(hub: Hub) -> None:
    assert hub.logged_in("margaret", "--admin").get("/hub/admin").status_code == 200


def test_a_password_that_must_be_changed_gives_no_session(hub: Hub) -> None:
    hub.hub_users.ok("add", "katherine", "--generate")
    given = hub.hub_users.ok("initial-password", "katherine").strip()
    browser = hub.browser()
    answer = browser.login("katherine", given, next_url="/hub/token%3Fa%3Db")
    assert answer.status_code == 302
    path = answer.headers["Location"]
    assert path.startswith("/hub/change-password?")
    assert not browser.is_logged_in()
    page = browser.get(path).text
    assert 'value="katherine"' in page and "Before you go on" in page

    for new, again, says in (
        (NEW_PASSWORD, "another", "The two new passwords differ."),
        ("short", None, "too short"),
        ("katherine", None, "differ from the username"),
        (given, None, "differ from the current one"),
    ):
        answer = browser.change_password(given, new, again, path=path, username="katherine")
        assert (answer.status_code, says in answer.text) == (400, True), says
        assert given not in answer.text
    answer = browser.change_password("wrong", NEW_PASSWORD, path=path, username="katherine")
    assert (answer.status_code, WRONG in answer.text) == (403, True)
    assert not browser.is_logged_in()

    answer = browser.change_password(given, NEW_PASSWORD, path=path, username="katherine")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/token?a=b")
    assert browser.is_logged_in()
    assert hub.hub_users("initial-password", "katherine").out == ""
    assert hub.browser().login("katherine", given).status_code == 403
    assert hub.browser().login("katherine", NEW_PASSWORD).status_code == 302


def test_a_reset_ends_the_session(hub: Hub) -> None:
    browser = hub.logged_in("mary")
    hub.hub_users.ok("passwd", "mary", "--generate")
    eventually(lambda: not browser.is_logged_in())


def test_next_leads_nowhere_else(hub: Hub) -> None:
    for number, next_url in enumerate(("https://evil.example/", "//evil.example/", "/\\evil")):
        name = f"next{number}"
        browser = hub.person(name, "--must-change")
        path = browser.login(name, next_url=next_url).headers["Location"]
        answer = browser.change_password(PASSWORD, NEW_PASSWORD, path=path, username=name)
        assert answer.status_code == 302
        assert re.match(r"/(hub/spawn|%5Cevil)", answer.headers["Location"])


def test_changing_ones_password_logs_the_others_out(hub: Hub) -> None:
    browser, other = hub.logged_in("dorothy"), hub.browser()
    assert other.login("dorothy").status_code == 302
    page = browser.get("/hub/home").text
    assert 'href="/hub/change-password"' in page
    page = browser.get("/hub/change-password").text
    assert 'value="dorothy"' in page and "readonly" in page

    answer = browser.change_password("wrong", NEW_PASSWORD)
    assert (answer.status_code, "current password is wrong" in answer.text) == (403, True)
    # The name in the form is not what counts for who is logged in.
    answer = browser.change_password(PASSWORD, NEW_PASSWORD, username="ada")
    assert answer.status_code == 302
    assert "Your password has been changed" in browser.get(answer.headers["Location"]).text
    assert browser.is_logged_in()
    assert not other.is_logged_in()
    assert hub.browser().login("dorothy").status_code == 403
    assert hub.browser().login("dorothy", NEW_PASSWORD).status_code == 302
    assert hub.browser().login("ada").status_code == 302


def test_sessions_with_servers_end_too_but_not_ones_own(hub: Hub) -> None:
    browser = hub.logged_in("annie")
    own = browser.session.cookies.get("jupyterhub-session-id")
    with sqlite3.connect(hub.log.with_name("hub.sqlite")) as database:
        (user_id,) = database.execute("SELECT id FROM users WHERE name = 'annie'").fetchone()
        # As a server gets one when its user's browser opens it; None is a token made by hand.
        for note, session in (("own", own), ("other", "0123"), ("by hand", None)):
            database.execute(
                "INSERT INTO api_tokens (user_id, session_id, hashed, prefix, client_id, note)"
                " VALUES (?, ?, ?, 'x', 'jupyterhub', ?)",
                (user_id, session, note, note),
            )
        database.commit()
        assert browser.change_password(PASSWORD, NEW_PASSWORD).status_code == 302
        left = database.execute("SELECT note FROM api_tokens WHERE user_id = ?", (user_id,))
        assert left.fetchall() == [("own",), ("by hand",)]


def test_changing_twice_at_once_succeeds_once(hub: Hub) -> None:
    """The database takes a new hash only for the one that was checked."""
    from hubstead_userdb.reader import UsersReader

    hub.person("radia")
    reader = UsersReader(hub.hub_users.reader_dsn, 3, "test")
    user = reader.find("radia")
    assert user is not None and user.password_hash not in repr(user)
    hub.hub_users.ok("passwd", "radia", "--password-stdin", stdin="reset by an admin\n")
    assert not reader.change_password("radia", user.password_hash, user.password_hash)
    assert hub.browser().login("radia", "reset by an admin").status_code == 302


@pytest.mark.parametrize("path", ["/hub/login", "/hub/change-password"])
@pytest.mark.parametrize("token", [None, "forged"])
def test_forms_of_other_sites_are_refused(hub: Hub, path: str, token: str | None) -> None:
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


def test_guessing_is_slowed_down_for_that_name_only(hub: Hub) -> None:
    browser = hub.person("rear.admiral")
    answers = [browser.login("rear.admiral", f"guess {number}") for number in range(12)]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 300
    assert "Too many failed attempts" in answers[-1].text
    assert browser.login("rear.admiral").status_code == 429
    answer = browser.change_password(PASSWORD, NEW_PASSWORD, username="rear.admiral")
    assert (answer.status_code, "Too many failed attempts" in answer.text) == (429, True)
    assert hub.browser().login("ada").status_code == 302


def test_the_database_goes_and_comes_back(hub: Hub) -> None:
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
    eventually(lambda: browser.login("ada").status_code == 302, 5)
    assert logged_in.is_logged_in()


def test_forty_people_log_in_at_once(hub: Hub) -> None:
    from concurrent.futures import ThreadPoolExecutor

    names = [f"pupil{number}" for number in range(40)]
    entries = "".join(f"{name},{PASSWORD}\n" for name in names)
    path = Path(hub.log).with_name("class.csv")
    path.write_text(f"username,password\n{entries}")
    hub.hub_users.ok("import", path)
    with ThreadPoolExecutor(40) as executor:
        codes = list(executor.map(lambda name: hub.browser().login(name).status_code, names))
    assert codes == [302] * 40


def test_the_hub_keeps_no_connection_open(hub: Hub) -> None:
    with hub.hub_users.cluster.superuser() as superuser:
        row = superuser.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jupyterhub'"
        ).fetchone()
    assert row == (0,)
