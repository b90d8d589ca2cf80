"""The login while something around it is down, or everybody comes at once."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from hubstead_login import settings
from hubstead_login.settings import read
from hubstead_userdb.errors import UserdbError
from tests.kit.userdb import PASSWORD, Cluster

from .conftest import LoginService, Visitor

DOWN = "The user database does not answer at the moment."
PEOPLE = 100
DOCS = Path(__file__).parents[3] / "docs/login.md"


@contextmanager
def _stopped(cluster: Cluster) -> Iterator[None]:
    cluster.stop()
    try:
        yield
    finally:
        cluster.start()


def _recovers(visitor: Visitor) -> bool:
    deadline = time.monotonic() + 15
    while visitor.get("/internal/health").status_code != 200:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_without_the_database_the_page_says_so_and_recovers(
    service: LoginService, cluster: Cluster
) -> None:
    ada, bob = service.logged_in("ada"), service.person("bob")
    page = ada.get("/auth/account").text
    token = page.partition('name="csrf" value="')[2].partition('"')[0]
    with _stopped(cluster):
        answer = bob.login("bob")
        assert (answer.status_code, DOWN in answer.text) == (503, True)
        assert int(answer.headers["Retry-After"]) > 0
        for path in ("/auth/account", "/auth/password", "/auth/login", "/internal/unavailable"):
            answer = ada.get(path)
            assert (answer.status_code, DOWN in answer.text) == (503, True), path
        assert ada.check().status_code == 503
        assert ada.get("/internal/health").status_code == 503
        # A logout that the database did not hear of is none.
        assert ada.request("POST", "/auth/logout", data={"csrf": token}).status_code == 503
        # A new person gets the form, and no wrong password is counted meanwhile.
        assert service.visitor().get("/auth/login").status_code == 200
        for _ in range(12):
            assert bob.login("bob").status_code == 503
    assert _recovers(ada)
    assert ada.is_logged_in()
    assert bob.login("bob").status_code == 303


def test_a_restart_of_the_database_is_no_error(service: LoginService, cluster: Cluster) -> None:
    ada = service.logged_in("ada")
    with ThreadPoolExecutor(8) as executor:
        # As a page of JupyterLab does, so that the pool has several connections.
        assert {a.status_code for a in executor.map(lambda _: ada.check(), range(40))} == {204}
    with _stopped(cluster):
        pass
    with ThreadPoolExecutor(8) as executor:
        assert {a.status_code for a in executor.map(lambda _: ada.check(), range(40))} == {204}


def test_a_restart_of_the_login_ends_no_session(service: LoginService) -> None:
    ada = service.logged_in("ada")
    service.stop()
    service.start()
    service.wait()
    assert ada.is_logged_in()
    assert ada.change_password(PASSWORD, "battery staple").status_code == 303


def test_the_login_starts_before_the_database(
    login_service: LoginService, cluster: Cluster, tmp_path: Path
) -> None:
    with _stopped(cluster):
        early = LoginService(login_service.hub_users, tmp_path)
        try:
            early.wait()
            assert early.visitor().get("/internal/health").status_code == 503
        except BaseException:
            early.stop()
            raise
    try:
        assert _recovers(early.visitor())
        assert early.logged_in("early").is_logged_in()
    finally:
        early.stop()
    assert "login-pass" not in early.log.read_text()


def test_a_hundred_people_behind_one_address_log_in_at_once(service: LoginService) -> None:
    csv = service.hub_users.directory / "class.csv"
    csv.write_text("username,password\n" + "".join(f"p{n},{PASSWORD}\n" for n in range(PEOPLE)))
    service.hub_users.ok("--bcrypt-cost", "6", "import", csv)
    people = [service.visitor() for _ in range(PEOPLE)]
    ada = service.logged_in("ada")
    with ThreadPoolExecutor(PEOPLE) as executor:
        answers = executor.map(lambda n: people[n].login(f"p{n}"), range(PEOPLE))
        # The proxy's questions are answered meanwhile.
        assert all(ada.is_logged_in() for _ in range(20))
        assert [answer.status_code for answer in answers] == [303] * PEOPLE
    names = {person.check().headers["X-Session-User"] for person in people}
    assert names == {f"p{n}" for n in range(PEOPLE)}


def test_many_guesses_from_one_address_delay_nobody_else(service: LoginService) -> None:
    """In one queue somebody else's check would come after all of them, or be refused."""
    # whose hash makes each check take as long
    service.hub_users.ok(
        "--bcrypt-cost", "10", "add", "slow", "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    bob = service.person("bob")
    guessers = [service.visitor("192.0.2.77") for _ in range(250)]
    with ThreadPoolExecutor(len(guessers)) as executor:
        flood = [executor.submit(each.login, f"p{n}") for n, each in enumerate(guessers)]
        # the queue of one address is full
        while not any(each.done() and each.result().status_code == 503 for each in flood):
            time.sleep(0.1)
        assert bob.login("bob").status_code == 303
        # they came before, all of them
        assert sum(not each.done() for each in flood) > 20
    assert {each.result().status_code for each in flood} == {403, 503}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"HUBSTEAD_LOGIN_ORIGINS": "https://hub.example.org/"}, "without a slash"),
        ({"HUBSTEAD_LOGIN_ORIGINS": " "}, "ORIGINS"),
        ({"HUBSTEAD_LOGIN_PREFIX": "/internal/"}, "a path such as /auth/"),
        ({"HUBSTEAD_LOGIN_PREFIX": "/"}, "a path such as /auth/"),
        ({"HUBSTEAD_LOGIN_HOME": "//evil.example"}, "a path such as /lab"),
        ({"HUBSTEAD_LOGIN_SESSION_MINUTES": "0"}, "a number from 1"),
        ({"HUBSTEAD_LOGIN_PROXIES": "many"}, "a number from 0"),
        ({"CREDENTIALS_DIRECTORY": "/nowhere"}, "cannot read /nowhere/secret-key"),
    ],
)
def test_wrong_settings_are_named(
    login_service: LoginService, change: dict[str, str], says: str
) -> None:
    with pytest.raises(UserdbError, match=says):
        read(login_service.environment | change)
    without = dict(login_service.environment)
    del without["HUBSTEAD_LOGIN_ORIGINS"]
    with pytest.raises(UserdbError, match="HUBSTEAD_LOGIN_ORIGINS is not set"):
        read(without)
    given = read(login_service.environment)
    assert given.session_minutes == 15 and given.secret_key not in repr(given)


def test_the_documentation_names_every_setting_and_its_default(tmp_path: Path) -> None:
    (tmp_path / "secret-key").write_text("x" * 32)
    rows = [
        [cell.strip().strip("`") for cell in line.split("|")[1:-1]]
        for line in DOCS.read_text().splitlines()
        if line.startswith("| `HUBSTEAD_LOGIN_")
    ]
    required = {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "HUBSTEAD_LOGIN_ORIGINS": "https://hub.example.org",
        "HUBSTEAD_LOGIN_TOKEN_FILE": "/token",
    }
    assert {name for name, _, default in rows if default == "required"} < set(required)
    documented = {name: default for name, _, default in rows if default != "required"}
    assert read(required) == read(required | documented)
    source = Path(settings.__file__).read_text()
    names = re.findall(r'(?:variable|checked|number)\(\s*"([A-Z_]+)"', source)
    assert {f"HUBSTEAD_LOGIN_{name}" for name in names} == {name for name, *_ in rows}
