"""The Hub's database goes away, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.kit import forms, running
from tests.kit.userdb import Cluster, throwaway_cluster, users_table
from tests.unit.hub.conftest import Hub, two_ports


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    with throwaway_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def hub(own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub whose database is in the cluster that has the users table too."""
    hub_users = users_table(own_cluster, tmp_path_factory.mktemp("users"), "userdb_away")
    with own_cluster.superuser("postgres") as connection:
        connection.execute("CREATE DATABASE hub")
    database = f"postgresql+psycopg://super:super@/hub?host={own_cluster.directory}"
    hub = Hub(hub_users, tmp_path_factory.mktemp("hub"), two_ports(), database)
    with running.running(hub):
        yield hub


def test_people_stay_logged_in_and_read_why_they_wait(hub: Any, own_cluster: Cluster) -> None:
    browser = hub.logged_in("ann")
    token = browser.api("POST", "/users/ann/tokens", json={}).json()["token"]
    program = hub.browser()
    program.session.headers["Authorization"] = f"token {token}"
    stranger = hub.browser()
    assert browser.is_logged_in() and program.get("/hub/api/user").status_code == 200
    cookies = dict(browser.session.cookies)
    own_cluster.stop()
    try:
        for path in ("/hub/home", "/hub/spawn", "/hub/token", "/hub/login", "/hub/user/ann/lab"):
            page = browser.get(path)
            assert page.status_code == 503, path
            assert forms.refresh(page.text) == int(page.headers["Retry-After"]) == 5
            assert "does not answer" in forms.said(page.text)
            assert "Set-Cookie" not in page.headers
        # who took it for no token would throw it away
        for answer in (program.get("/hub/api/user"), browser.api("GET", "/user")):
            assert answer.status_code == 503 and "Retry-After" in answer.headers
            assert "does not answer" in answer.json()["message"]
        assert stranger.get("/hub/login").status_code == 200
    finally:
        own_cluster.start()
    hub.eventually(browser.is_logged_in)
    assert dict(browser.session.cookies) == cookies
    assert program.get("/hub/api/user").status_code == 200


def test_a_start_waits_for_the_database(hub: Any, own_cluster: Cluster) -> None:
    directory = Path(hub.log).parent
    browser = hub.person("slow-bob")
    hub.eventually(lambda: browser.login("slow-bob").status_code == 302)
    assert browser.get("/hub/spawn").status_code == 302
    own_cluster.stop()
    (directory / "slow-bob").touch()
    assert browser.get("/hub/home").status_code == 503
    own_cluster.start()
    # without it JupyterHub says that the server is ready, and leads nobody there for minutes
    hub.eventually((directory / "route-slow-bob").exists)
    hub.eventually(lambda: browser.api("GET", "/users/slow-bob").json()["servers"][""]["ready"])


def test_without_its_tables_it_is_away_as_well(hub: Any, own_cluster: Cluster) -> None:
    browser = hub.person("cat")
    hub.eventually(lambda: browser.login("cat").status_code == 302)
    dsn = own_cluster.dsn("super", "super", "hub")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE users RENAME TO former")
        try:
            assert browser.get("/hub/home").status_code == 503
        finally:
            connection.execute("ALTER TABLE former RENAME TO users")
    hub.eventually(browser.is_logged_in)
