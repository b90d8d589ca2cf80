"""No login but by token, and the examples of the page about the API."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from hubstead_hub.token import TokenOnly
from tests.kit import running
from tests.kit.userdb import Cluster, users_table
from tests.unit.hub.conftest import Hub, two_ports
from tests.unit.hub.test_rules import write
from tests.unit.plans import PROJECT

PORTAL, BOARD = "b0" * 32, "a1" * 32
EXAMPLES = re.findall(r"^```sh\n(.*?)^```", (PROJECT / "docs/api.md").read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def token_hub(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    directory = tmp_path_factory.mktemp("token")
    hub_users = users_table(cluster, tmp_path_factory.mktemp("users"), "userdb_token")
    write(directory / "rules.json", everyone=True)
    hub = Hub(
        hub_users,
        directory,
        two_ports(),
        configuration="token_config.py",
        TEST_PORTAL=PORTAL,
        TEST_BOARD=BOARD,
    )
    with running.running(hub):
        yield hub


def call(hub: Hub, method: str, path: str, token: str = PORTAL, **options: Any) -> Any:
    headers = {"Authorization": f"token {token}"}
    return requests.request(method, f"{hub.url}/hub/api{path}", headers=headers, **options)


def a_token(hub: Hub, name: str) -> str:
    return str(call(hub, "POST", f"/users/{name}/tokens", json={"expires_in": 60}).json()["token"])


@pytest.mark.parametrize("path", ["/hub/", "/hub/login", "/hub/home", "/hub/oauth_login"])
def test_no_page_leads_in(token_hub: Hub, path: str) -> None:
    answer = requests.get(token_hub.url + path, timeout=20)
    assert answer.status_code in (403, 404)
    assert "<form" not in answer.text
    if path != "/hub/oauth_login":
        assert "There is no login here" in answer.text


def test_a_form_of_ones_own_is_none(token_hub: Hub) -> None:
    browser = token_hub.browser()
    browser.get("/hub/login")
    xsrf = browser.session.cookies.get("_xsrf", path="/hub/") or ""
    answer = browser.session.post(
        f"{token_hub.url}/hub/login", data={"username": "ada", "password": "x", "_xsrf": xsrf}
    )
    assert answer.status_code == 403 and not browser.is_logged_in()


def test_the_examples_of_the_page_work(token_hub: Hub) -> None:
    assert len(EXAMPLES) == 3
    # a server that can start (hub_config.NoSpawner)
    (token_hub.log.parent / "slow-ada").touch()
    said = []
    for example in EXAMPLES:
        script = example.replace("/ada", "/slow-ada")
        done = subprocess.run(
            ["sh", "-euc", script],
            env={**os.environ, "HUB": f"{token_hub.url}/hub/api", "TOKEN": PORTAL},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        said.append(done.stdout)
    assert re.search(r'"token": "[0-9a-f]{32,64}"', said[0])
    assert '"servers"' in said[1] and '"slow-ada"' in said[2]
    assert call(token_hub, "GET", "/users/slow-ada").status_code == 404


@pytest.mark.parametrize(
    ("token", "status"),
    [("", 403), ("b0", 403), ("b0" * 31 + "b1", 403), ("é", 403), (BOARD, 403), (PORTAL, 201)],
)
def test_a_token_is_good_for_what_it_may(token_hub: Hub, token: str, status: int) -> None:
    headers = {"Authorization": f"token {token}".encode()}
    url = f"{token_hub.url}/hub/api/users/new-{status}"
    assert requests.post(url, headers=headers, timeout=20).status_code == status


def test_somebody_has_their_own_alone(token_hub: Hub) -> None:
    for name in ("eve", "bob"):
        call(token_hub, "POST", f"/users/{name}")
    token = a_token(token_hub, "eve")
    assert call(token_hub, "GET", "/user", token).json()["name"] == "eve"
    assert call(token_hub, "GET", "/users/bob", token).status_code in (403, 404)
    assert call(token_hub, "POST", "/users/bob/tokens", token, json={}).status_code in (403, 404)
    assert call(token_hub, "PATCH", "/users/eve", token, json={"admin": True}).status_code == 403


def test_who_is_blocked_has_none_any_more(token_hub: Hub) -> None:
    call(token_hub, "POST", "/users/mallory")
    token = a_token(token_hub, "mallory")
    assert call(token_hub, "GET", "/user", token).status_code == 200
    rules = token_hub.log.parent / "rules.json"
    write(rules, everyone=True, blocked=["mallory"])
    try:
        token_hub.eventually(lambda: call(token_hub, "GET", "/user", token).status_code == 403)
    finally:
        write(rules, everyone=True)


def test_the_next_one_of_a_name_is_another(token_hub: Hub) -> None:
    """People's files are told apart by the account; the Hub's database, by a number at times."""
    database = f"sqlite:///{token_hub.log.parent / 'hub.sqlite'}"

    def account() -> str | None:
        with Session(create_engine(database)) as session:
            asked: Any = SimpleNamespace(_db=session)
            return asyncio.run(TokenOnly.account(asked, "heir"))

    assert account() is None
    call(token_hub, "POST", "/users/heir")
    first, token = account(), a_token(token_hub, "heir")
    assert first is not None and re.fullmatch(r"hub\.\d+_\d{20}", first)
    assert account() == first
    assert call(token_hub, "DELETE", "/users/heir").status_code == 204
    call(token_hub, "POST", "/users/heir")
    assert account() not in (None, first)
    assert call(token_hub, "GET", "/user", token).status_code == 403
    # which a look at all accounts takes for nothing but that
    time.sleep(2.5)
    assert call(token_hub, "GET", "/users/heir").status_code == 200


@pytest.mark.parametrize(
    "path", ["/hub/api/users", "/hub/api/users/nobody", "/hub/login", "/hub/x"]
)
@pytest.mark.parametrize("token", [PORTAL, "0" * 32])
def test_listed_origins_and_no_others_read_each_answer(
    token_hub: Hub, path: str, token: str
) -> None:
    """With 200, 403 and 404 alike."""

    def allowed(method: str, origin: str | None) -> str | None:
        headers = {"Authorization": f"token {token}"} | ({"Origin": origin} if origin else {})
        answer = requests.request(method, token_hub.url + path, headers=headers, timeout=20)
        assert answer.headers["Content-Security-Policy"].startswith(
            "frame-ancestors https://app.example.org"
        )
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
        return answer.headers.get("Access-Control-Allow-Origin")

    for method in ("GET", "OPTIONS", "DELETE"):
        assert allowed(method, "https://app.example.org") == "https://app.example.org"
        for other in (
            "https://app.example.org.evil.example",
            "http://app.example.org",
            "https://app.example.org:8443",
            "https://evil.example",
            "null",
            None,
        ):
            assert allowed(method, other) is None


def test_whom_a_program_removes_leaves_no_files(token_hub: Hub) -> None:
    away, left = token_hub.directory / "away", token_hub.directory / "left-brief"
    call(token_hub, "POST", "/users/brief")
    away.touch()
    refused = call(token_hub, "DELETE", "/users/brief")
    assert refused.status_code == 503 and "the helper is away" in refused.text
    assert call(token_hub, "GET", "/users/brief").status_code == 200 and not left.exists()
    away.unlink()
    assert call(token_hub, "DELETE", "/users/brief").status_code == 204
    assert "brief" not in (token_hub.directory / "accounts.json").read_text()
    assert re.fullmatch(r"hub\.\d+_\d+", left.read_text())
