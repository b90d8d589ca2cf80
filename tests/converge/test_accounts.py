"""Another way to log in is one setting: OpenID Connect, SAML, GitHub, Google, with real servers.

One host that served people of the users table gets a provider beside that, goes from one to the
next then, and one lab host plays them all. Who may not is refused, who leaves is out within a
minute, and nobody else notices.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.attacks.test_guessing import check_few_guesses
from tests.browser.chromium import (
    PATIENCE,
    chromium,
    compute,
    context,
    open_notebook,
    trusting_home,
)
from tests.conftest import Deployed
from tests.kit.hub_client import HubClient, Kernel, patiently
from tests.kit.identity import IdentityProvider, Person, identity_provider
from tests.kit.service import NAME, PASSWORD, Service, container
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

HUB = f"https://{NAME}"
#: Seconds in which who left is out
MINUTE = 60
#: The users table and a provider, at once
SEVERAL = "several"
PEOPLE = {
    "alice": Person("pw of alice", ("staff",), "alice@campus.example", domain="campus.example"),
    "bob": Person("pw of bob", ("lab",), "bob@campus.example", domain="campus.example"),
    "carol": Person("pw of carol", ("lab",), "carol@campus.example", domain="campus.example"),
    "eve": Person("pw of eve", (), "eve@elsewhere.example"),
    "../eve": Person("pw of eve", ("lab",), "eve2@elsewhere.example"),
}
OIDC = {
    "hub_oidc_client_id": "hub",
    "hub_oidc_issuer": "https://id.example.net",
    "hub_oidc_name": "Campus",
}
#: What each way to log in needs beside its name
SETTINGS = {
    SEVERAL: OIDC
    | {
        "hub_authenticators": ["users-table", "oidc"],
        "hub_allowed_groups": ["oidc:lab", "oidc:staff"],
    },
    "oidc": OIDC
    | {
        "hub_allowed_groups": ["lab"],
        "hub_admin_groups": ["staff"],
    },
    "github": {
        "hub_github_client_id": "hub",
        "hub_github_organizations": ["campus:lab"],
        "hub_admins": ["alice"],
    },
    "saml": {
        "hub_saml_metadata": "https://id.example.net/saml/metadata",
        "hub_saml_name": "Campus",
        "hub_saml_username_attribute": "uid",
        "hub_allowed_groups": ["lab"],
        "hub_admin_groups": ["staff"],
    },
    "pam": {"hub_allowed_groups": ["lab"], "hub_admin_groups": ["sudo"]},
    "google": {"hub_google_client_id": "hub", "hub_google_domain": "campus.example"},
}


class Campus:
    """The host, who vouches for its people, and what is set."""

    def __init__(self, service: Service, provider: IdentityProvider, before: HubClient) -> None:
        self.service, self.provider, self.before = service, provider, before
        self.way = ""

    def deploy(self, authenticator: str, **changes: object) -> None:
        """Deploy with other rules, or another way to log in, whose second run changes nothing."""
        trusted = {"base_ca_certificates": self.provider.trusted}
        settings = {"hub_authenticator": authenticator} if authenticator != SEVERAL else {}
        settings |= SETTINGS[authenticator] | trusted
        self.service.settings = tuple(
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in (settings | changes).items()
        )
        first = self.service.run()
        assert first.status == 0, first.end
        known, self.output, self.way = self.way == authenticator, first.output, authenticator
        if known:
            return
        units = self.service.units()
        second = self.service.run()
        assert (second.status, second.changed) == (0, []), second.end
        assert self.service.units() == units

    def try_to_log_in(self, name: str) -> tuple[HubClient, httpx.Response]:
        client = HubClient(self.service.site, name)
        path = {"saml": "hub/saml/login", SEVERAL: "hub/oidc/oauth_login"}.get(
            self.way, "hub/oauth_login"
        )
        password = f"pw of {name.removeprefix('../')}"
        return client, self.provider.log_in(client, name, password, path)

    def person(self, name: str) -> HubClient:
        """Somebody who logged in by the provider, with a token and a server that runs."""
        client, answer = self.try_to_log_in(name)
        while answer.status_code == 503 and "is being ended" in answer.text:
            # sessions of another way to log in, for seconds
            time.sleep(5)
            client, answer = self.try_to_log_in(name)
        assert answer.status_code == 302 and client.is_logged_in(), answer.text
        client.take_token()
        client.start_server()
        return client

    def is_out(self, client: HubClient) -> bool:
        """Whether neither cookie nor token nor server is left."""
        running = self.service.sudo("docker ps --format '{{.Names}}'").split()
        with_token = client.request("GET", "/hub/api/user").status_code
        plain = HubClient(client.site, client.username)
        plain.http.cookies = client.http.cookies
        return (
            container(client.username) not in running
            and with_token == 403
            and not plain.is_logged_in()
        )


@pytest.fixture(scope="module")
def before(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campus]:
    """The host with people of the users table, and the provider beside it."""
    with pytest.MonkeyPatch.context() as environment:
        service = deployed.alone()
        # somebody of the users table, with a session and a notebook
        alice = service.person("alice")
        alice.notebook("work.ipynb", "'of the users table'")
        with identity_provider(
            service.lab,
            tmp_path_factory.mktemp("authority"),
            callbacks=[f"{HUB}/hub/oauth_callback", f"{HUB}/hub/oidc/oauth_callback"],
            after_logout=[f"{HUB}/"],
        ) as provider:
            for name in ("oidc", "github", "google"):
                variable = f"HUBSTEAD_HUB_{name.upper()}_CLIENT_SECRET"
                environment.setenv(variable, provider.client_secret)
            provider.people(PEOPLE)
            provider.org_members({"campus": ["alice", "bob", "carol"]})
            yield Campus(service, provider, alice)


@pytest.fixture(scope="module")
def campus(before: Campus) -> Campus:
    before.deploy("oidc")
    return before


def kept(kernel: Kernel) -> bool:
    """Whether the kernel is the one that had this variable."""
    return kernel.run("print(kept)") == "kept\n"


def test_a_provider_comes_beside_the_users_table(
    before: Campus, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Both at once; whoever was there stays, and keeps the name."""
    service, provider, alice = before.service, before.provider, before.before
    with alice.kernel() as kernel:
        kernel.run("kept = 'kept'")
        before.deploy(SEVERAL)
        assert kept(kernel) and alice.is_logged_in()
        assert f"{HUB}/hub/oidc/oauth_callback, and after a logout {HUB}/" in before.output
        both_log_in(before, tmp_path_factory, tmp_path)
        client, answer = before.try_to_log_in("alice")
        assert answer.status_code == 403 and not client.is_logged_in()
        carol = before.person("carol")
        assert service.visitor("bob").try_to_log_in(PASSWORD).status_code == 403
        provider.people({name: who for name, who in PEOPLE.items() if name != "carol"})
        eventually("carol is out", lambda: before.is_out(carol), MINUTE)
        assert kept(kernel) and alice.is_logged_in()
    provider.people(PEOPLE)
    journal = service.sudo("journalctl -u jupyterhub --since -10min")
    assert "Traceback" not in journal


def both_log_in(campus: Campus, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """By the form and by the button of one page, in Chromium, as two people of different names."""
    site, provider = campus.service.site, campus.provider
    home = trusting_home(tmp_path_factory.mktemp("home"), site.ca, provider.ca)
    with chromium(home, **{NAME: site.address}, **provider.names) as browser:

        def at_the_provider(name: str) -> Page:
            page = context(browser).new_page()
            page.goto(f"{HUB}/hub/login")
            page.get_by_role("button", name="Sign in with Campus").click()
            page.get_by_label("Username").fill(name)
            page.get_by_label("Password").fill(f"pw of {name}")
            page.get_by_role("button", name="Log in").click()
            return page

        page = context(browser).new_page()
        page.goto(f"{HUB}/hub/login")
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            page.screenshot(path=tmp_path / f"login-{width}.png")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.get_by_label("Username").fill("alice")
        page.get_by_label("Password:").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        pages = {"alice": page, "bob": at_the_provider("bob")}
        for name, page in pages.items():
            lab = f"https://{name}.{NAME}/user/{name}/lab"
            page.wait_for_url(f"{lab}**", timeout=PATIENCE)
            open_notebook(page, lab)
            assert compute(page, "print(6*7)") == "42\n"
        refused = at_the_provider("alice")
        expect(refused.get_by_text("logs in here another way")).to_be_visible()
        refused.screenshot(path=tmp_path / "refused.png")
        # out of the provider as well: its form is there again
        page.goto(f"{HUB}/hub/logout")
        page.wait_for_url(f"{HUB}/**")
        page.goto(f"{HUB}/hub/login")
        page.get_by_role("button", name="Sign in with Campus").click()
        expect(page.get_by_label("Username")).to_be_visible()


def test_files_stay_and_sessions_do_not(campus: Campus) -> None:
    eventually("sessions of before are over", lambda: campus.is_out(campus.before), MINUTE)
    alice = campus.person("alice")
    assert alice.cells("work.ipynb") == ["'of the users table'"]
    page = HubClient(campus.service.site, "alice").request("GET", "/hub/login").text
    assert "Sign in with Campus" in page and "password" not in page.lower()


def test_an_allowed_person_logs_in_and_out_in_a_browser(
    campus: Campus, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    logs_in_and_out(campus, tmp_path_factory, tmp_path)


def logs_in_and_out(
    campus: Campus, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """An allowed person, one who may not, and an admin, in Chromium, at the provider's form."""
    site, provider = campus.service.site, campus.provider
    home = trusting_home(tmp_path_factory.mktemp("home"), site.ca, provider.ca)
    with chromium(home, **{NAME: site.address}, **provider.names) as browser:
        page = context(browser).new_page()

        def log_in(name: str, password: str) -> None:
            page.goto(f"{HUB}/hub/login")
            page.get_by_role("button", name="Sign in with Campus").click()
            page.get_by_label("Username").fill(name)
            page.get_by_label("Password").fill(password)
            page.get_by_role("button", name="Log in").click()

        page.goto(f"{HUB}/hub/login")
        page.screenshot(path=tmp_path / "login.png")
        log_in("bob", "pw of bob")
        page.wait_for_url(f"https://bob.{NAME}/user/bob/lab**", timeout=PATIENCE)
        open_notebook(page, f"https://bob.{NAME}/user/bob/lab")
        assert compute(page, "print(6*7)") == "42\n"
        page.goto(f"{HUB}/hub/admin")
        expect(page.get_by_text("not authorized")).to_be_visible()
        # out of the provider as well: its form is there again
        page.goto(f"{HUB}/hub/logout")
        page.wait_for_url(f"{HUB}/**")
        page.screenshot(path=tmp_path / "logged-out.png")
        log_in("eve", "pw of eve")
        expect(page.get_by_text("you may not use this")).to_be_visible()
        page.screenshot(path=tmp_path / "refused.png")
        page.context.clear_cookies()
        log_in("alice", "pw of alice")
        page.wait_for_url(f"https://alice.{NAME}/user/alice/lab**", timeout=PATIENCE)
        page.goto(f"{HUB}/hub/admin")
        expect(page.get_by_role("button", name="Add Users")).to_be_visible()
        page.screenshot(path=tmp_path / "admin.png")


@pytest.mark.parametrize("name", ["eve", "../eve"])
def test_who_may_not_is_refused_in_words(campus: Campus, name: str) -> None:
    client, answer = campus.try_to_log_in(name)
    assert answer.status_code == 403 and not client.is_logged_in()
    assert "you may not" in answer.text or "You cannot log in here" in answer.text


def test_who_leaves_the_settings_is_out_and_nobody_else_notices(campus: Campus) -> None:
    bob, carol = campus.person("bob"), campus.person("carol")
    with carol.kernel() as kernel:
        kernel.run("kept = 'kept'")
        units = campus.service.units()
        campus.deploy("oidc", hub_blocked_users=["bob"])
        assert campus.service.units() == units
        eventually("bob is out", lambda: campus.is_out(bob), MINUTE)
        assert campus.try_to_log_in("bob")[1].status_code == 403
        assert kept(kernel) and carol.is_logged_in()
    campus.deploy("oidc")
    campus.person("bob")


def test_who_leaves_the_provider_is_out_and_nobody_else_notices(campus: Campus) -> None:
    bob, carol = campus.person("bob"), campus.person("carol")
    with carol.kernel() as kernel:
        kernel.run("kept = 'kept'")
        campus.provider.people({name: who for name, who in PEOPLE.items() if name != "bob"})
        eventually("bob is out", lambda: campus.is_out(bob), MINUTE)
        assert kept(kernel) and carol.is_logged_in()
    campus.provider.people(PEOPLE)


def test_nobody_is_out_because_the_provider_is(campus: Campus) -> None:
    carol = campus.person("carol")
    with carol.kernel() as kernel:
        kernel.run("kept = 'kept'")
        campus.provider.stop()
        try:
            visitor = HubClient(campus.service.site, "bob")
            assert visitor.request("GET", "/hub/login").status_code == 200
            # longer than an answer of the provider's counts, and its tokens last
            time.sleep(MINUTE + 30)
            assert kept(kernel) and carol.is_logged_in()
        finally:
            campus.provider.start()
        time.sleep(35)
        assert kept(kernel) and carol.is_logged_in()


def test_a_wrong_secret_stops_logins_and_ends_nothing(campus: Campus) -> None:
    carol = campus.person("carol")
    with carol.kernel() as kernel, pytest.MonkeyPatch.context() as environment:
        kernel.run("kept = 'kept'")
        environment.setenv("HUBSTEAD_HUB_OIDC_CLIENT_SECRET", "a-wrong-secret-of-mine")
        try:
            campus.deploy("oidc")
            _, answer = campus.try_to_log_in("bob")
            assert answer.status_code == 503 and "refuses this Hub" in answer.text
            journal = campus.service.sudo("journalctl -u jupyterhub --since -2min")
            assert "the provider refuses us: invalid_client" in journal
            assert "a-wrong-secret-of-mine" not in journal and "Traceback" not in journal
            time.sleep(MINUTE)
            assert kept(kernel)
        finally:
            environment.undo()
            campus.deploy("oidc")
    assert campus.provider.client_secret not in campus.output


@pytest.mark.parametrize("way", ["github", pytest.param("google", marks=pytest.mark.every)])
def test_another_provider_is_one_setting(campus: Campus, way: str) -> None:
    provider = campus.provider
    carol = campus.person("carol") if way == "github" else None
    campus.deploy(way)
    if carol:
        eventually("sessions of before are over", lambda: campus.is_out(carol), MINUTE)
    alice, bob = campus.person("alice"), campus.person("bob")
    assert alice.cells("work.ipynb") == ["'of the users table'"]
    assert alice.api("GET", "/user")["admin"] == (way == "github")
    client, answer = campus.try_to_log_in("eve")
    assert answer.status_code == 403 and not client.is_logged_in()
    with alice.kernel() as kernel:
        kernel.run("kept = 'kept'")
        if way == "github":
            provider.org_members({"campus": ["alice", "carol"]})
        else:
            provider.people({name: who for name, who in PEOPLE.items() if name != "bob"})
        eventually("bob is out", lambda: campus.is_out(bob), MINUTE)
        assert kept(kernel) and alice.is_logged_in()
    provider.people(PEOPLE)
    provider.org_members({"campus": ["alice", "bob", "carol"]})


def test_saml_is_one_setting(
    campus: Campus, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    service, provider = campus.service, campus.provider
    provider.install_saml()
    campus.deploy("saml")
    provider.knows(HubClient(service.site, "nobody").request("GET", "/hub/saml/metadata").text)
    # for seconds after a switch, people are told that they are still somebody of the former way
    eventually(
        "sessions of before are over",
        lambda: campus.try_to_log_in("bob")[1].status_code == 302,
        MINUTE,
    )
    logs_in_and_out(campus, tmp_path_factory, tmp_path)
    alice, bob, carol = (campus.person(name) for name in ("alice", "bob", "carol"))
    assert alice.cells("work.ipynb") == ["'of the users table'"]
    assert alice.api("GET", "/user")["admin"] and not bob.api("GET", "/user")["admin"]
    for name in ("eve", "../eve"):
        client, answer = campus.try_to_log_in(name)
        assert answer.status_code == 403 and not client.is_logged_in()
    with carol.kernel() as kernel:
        kernel.run("kept = 'kept'")
        units = service.units()
        campus.deploy("saml", hub_blocked_users=["bob"])
        assert service.units() == units
        eventually("bob is out", lambda: campus.is_out(bob), MINUTE)
        assert campus.try_to_log_in("bob")[1].status_code == 403
        # groups are those of the login, and what they mean is what the settings say by now
        campus.deploy("saml", hub_allowed_users=["carol"], hub_admin_groups=["none"])
        eventually("alice is out", lambda: campus.is_out(alice), MINUTE)
        assert kept(kernel) and carol.is_logged_in()
    journal = service.sudo("journalctl -u jupyterhub --since -15min")
    assert "Traceback" not in journal
    # what the provider says of people is not in it: only that they are logged out
    said = [line for line in journal.splitlines() if "SAMLResponse" in line]
    assert said and all("/hub/saml/logout?" in line for line in said)


def test_accounts_of_the_host_are_one_setting_too(campus: Campus) -> None:
    service = campus.service
    service.sudo("groupadd lab")
    for name, groups in (("alice", "lab,sudo"), ("bob", "lab"), ("eve", "users")):
        service.sudo(f"useradd -G {groups} {name}")
        service.sudo("chpasswd", input=f"{name}:pw of {name}\n")
    service.sudo("chpasswd", input="root:pw of root\n")
    campus.deploy("pam")
    alice, bob = (HubClient(service.site, name) for name in ("alice", "bob"))
    for client in (alice, bob):
        # once sessions of before are over
        patiently(partial(client.log_in, f"pw of {client.username}"))
        client.take_token()
        client.start_server()
    assert alice.api("GET", "/user")["admin"] and not bob.api("GET", "/user")["admin"]
    assert alice.cells("work.ipynb") == ["'of the users table'"]
    for name, password in (("root", "pw of root"), ("eve", "pw of eve"), ("bob", "pw of alice")):
        refused = HubClient(service.site, name).try_to_log_in(password)
        assert refused.status_code == 403, name
    check_few_guesses(service, HubClient(service.site, "bob"), "pw of bob")
    connect = "import socket; socket.socket(socket.AF_UNIX).connect('/run/hubstead-pam.sock')"
    assert "PermissionError" in service.stranger(f'python3 -c "{connect}" 2>&1')
    with alice.kernel() as kernel:
        kernel.run("kept = 'kept'")
        service.sudo("usermod --lock bob")
        eventually("bob is out", lambda: campus.is_out(bob), MINUTE)
        assert HubClient(service.site, "bob").try_to_log_in("pw of bob").status_code == 403
        service.sudo("systemctl stop hubstead-pam.socket")
        answer = HubClient(service.site, "bob").try_to_log_in("pw of bob")
        assert answer.status_code == 503 and "does not answer" in answer.text
        time.sleep(MINUTE)
        service.sudo("systemctl start hubstead-pam.socket")
        assert kept(kernel) and alice.is_logged_in()
    assert "pw of" not in service.sudo("journalctl --since -10min")
    # another way took what it had brought with it
    assert "xmlsec1" not in service.sudo("ls /usr/bin")
    # and back, without what it brought
    campus.deploy("google")
    assert service.sudo("ls /etc/pam.d /run").count("hubstead-pam") == 0


def test_nothing_secret_is_in_the_journal(campus: Campus) -> None:
    journal = campus.service.sudo("journalctl -u jupyterhub")
    assert "oauth_callback" in journal
    for secret in (campus.provider.client_secret, PASSWORD, "pw of", "access_token"):
        assert secret not in journal
    assert not re.search(r"code=(?!\[secret\])", journal)
