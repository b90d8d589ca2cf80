"""Who left, and who has a copy of somebody's cookies: a minute later nothing is open to them."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
import websocket

from tests.kit.hub_client import HubClient, patiently
from tests.kit.service import PASSWORD, Service, container
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

#: Seconds in which all of somebody's sessions are over, and what a busy machine needs beside
MINUTE = 60 + 30
NEW_PASSWORD = "another good password"


class Browser:
    """A person who logged in by the form, and to the server by that: cookies alone."""

    def __init__(self, service: Service, username: str, cookies: httpx.Cookies | None = None):
        self.site, self.username = service.site, username
        self.client = HubClient(service.site, username)
        if cookies is not None:
            self.client.http.cookies.update(cookies)
            return
        self.client.log_in(PASSWORD)
        page = self.client.http.get(self.url("lab"), follow_redirects=True)
        assert page.status_code == 200 and self.knows_the_server()

    def url(self, path: str) -> str:
        return self.site.url(f"/user/{self.username}/{path}")

    def knows_the_server(self) -> bool:
        """Whether the server lets it in; the Hub may be away."""
        return self.client.http.get(self.url("api/kernels")).status_code == 200

    def is_logged_in(self) -> bool:
        return self.client.is_logged_in()

    def terminal(self) -> websocket.WebSocket:
        """An open terminal of the person's server."""
        xsrf = self.client.http.get(self.url("lab")).cookies.get("_xsrf") or next(
            cookie.value
            for cookie in self.client.http.cookies.jar
            if cookie.name == "_xsrf" and cookie.domain != self.site.name
        )
        url = self.url("api/terminals")
        made = self.client.http.post(url, headers={"X-XSRFToken": str(xsrf)}).raise_for_status()
        asked = httpx.URL(self.url(f"terminals/websocket/{made.json()['name']}"))
        request = self.client.http.build_request("GET", asked)
        plain = socket.create_connection((self.site.address, self.site.port), timeout=60)
        return websocket.create_connection(
            str(asked.copy_with(scheme="wss")),
            socket=self.site.tls().wrap_socket(plain, server_hostname=asked.host),
            cookie=request.headers["Cookie"],
            origin=str(asked.copy_with(path="/")).rstrip("/"),
            timeout=60,
        )


def answers(terminal: websocket.WebSocket) -> bool:
    """Whether what is typed into an open terminal is carried out."""
    try:
        terminal.send(json.dumps(["stdin", "echo $((6 * 7))\r"]))
        deadline, text = time.monotonic() + 30, ""
        while "42" not in text and time.monotonic() < deadline:
            said = terminal.recv()
            if not said:
                return False
            text += str(json.loads(said)[1:])
        return "42" in text
    except (OSError, websocket.WebSocketException):
        return False


def is_open(connection: websocket.WebSocket) -> bool:
    """Whether nobody has closed the connection; what it says is dropped."""
    try:
        while select.select([connection.sock], [], [], 0)[0]:
            kind, _ = connection.recv_data(control_frame=True)
            if kind == websocket.ABNF.OPCODE_CLOSE:
                return False
    except websocket.WebSocketConnectionClosedException:
        return False
    return True


@pytest.fixture
def bystander(service: Service) -> Iterator[None]:
    """Somebody at work, who notices nothing."""
    with service.person("alice").kernel() as kernel:
        kernel.run("memory = 'kept'")
        yield
        assert kernel.run("print(memory)") == "kept\n"


@pytest.mark.parametrize(
    "command",
    ["disable {}", "remove {} --yes", "passwd {} --password-stdin"],
    ids=["disabled", "removed", "new-password"],
)
def test_who_left_is_out_within_a_minute(service: Service, bystander: None, command: str) -> None:
    name = command.split()[0] + "d"
    browser = Browser(service, service.person(name).username)
    token = service.person(name).token
    terminal = browser.terminal()
    assert answers(terminal)
    service.sudo(f"hub-users {command.format(name)}", input=f"{NEW_PASSWORD}\n")
    eventually("the terminal is closed", lambda: not is_open(terminal), MINUTE)
    holder = HubClient(service.site, name)
    holder.token = token
    # not at once: while the server's route goes, Traefik was seen to know none for a moment (404)
    eventually(
        "the token is refused",
        lambda: holder.request("GET", "/hub/api/user").status_code == 403,
        MINUTE,
    )
    assert not browser.is_logged_in()
    eventually(
        "the server is gone", lambda: not service.sudo(f"docker ps -qf name={container(name)}"), 60
    )
    service.forget()
    if command.startswith("disable"):
        service.sudo(f"hub-users enable {name}")
    assert not browser.is_logged_in()


def test_the_next_one_of_a_name_gets_no_tokens(service: Service) -> None:
    former = service.person("heir")
    service.sudo("hub-users remove heir --yes")
    service.forget()
    refused = service.visitor("heir").try_to_log_in(PASSWORD)
    assert refused.status_code in (503, 302), refused.text
    eventually(
        "the former one's token is refused",
        lambda: former.request("GET", "/hub/api/user").status_code == 403,
        MINUTE,
    )
    patiently(lambda: service.visitor("heir").log_in(PASSWORD))


def test_a_logout_ends_copied_cookies_and_what_they_opened(service: Service) -> None:
    service.person("carol")
    browser = Browser(service, "carol")
    thief = Browser(service, "carol", browser.client.http.cookies)
    assert thief.is_logged_in() and thief.knows_the_server()
    terminal = thief.terminal()
    assert answers(terminal)
    with service.person("carol").kernel() as kernel:
        kernel.run("memory = 'kept'")
        browser.client.request("GET", "/hub/logout")
        assert not thief.is_logged_in()
        eventually("the server knows", lambda: not thief.knows_the_server(), MINUTE)
        eventually("the thief's terminal is closed", lambda: not is_open(terminal), MINUTE)
        # of the server itself, and of the person's own token, a logout ends nothing
        assert kernel.run("print(memory)") == "kept\n"


def test_work_goes_on_while_the_hub_is_away(service: Service) -> None:
    """For longer than the Hub's answers hold otherwise."""
    service.person("carol")
    browser = Browser(service, "carol")
    terminal = browser.terminal()
    service.sudo("systemctl stop jupyterhub")
    try:
        until = time.monotonic() + 40
        while time.monotonic() < until:
            assert browser.knows_the_server() and is_open(terminal)
            time.sleep(2)
        assert answers(terminal)
        stranger = Browser(service, "carol", httpx.Cookies())
        assert not stranger.knows_the_server()
    finally:
        service.sudo("systemctl start jupyterhub")
    patiently(lambda: service.visitor("carol").log_in(PASSWORD))


def test_tokens_end_by_themselves(service: Service) -> None:
    person = service.person("carol")
    token = person.api("POST", "/users/carol/tokens", json={})
    assert token["expires_at"]
    answer = person.request("POST", "/hub/api/users/carol/tokens", json={"expires_in": 10**9})
    assert answer.status_code == 400


def test_tokens_of_before_end_too(service: Service) -> None:
    """Those from when there was no limit, once the Hub starts anew; a server's goes on."""
    person = service.person("carol")
    sql = "cd /; runuser -u postgres -- psql -AtXq -d jupyterhub"
    never = "FROM api_tokens WHERE expires_at IS NULL AND user_id IS NOT NULL"
    service.sudo(sql, input="UPDATE api_tokens SET expires_at = NULL WHERE session_id IS NULL;")
    service.sudo("systemctl restart jupyterhub")
    notes = service.sudo(sql, input=f"SELECT note {never};").splitlines()
    assert "Server at /user/carol/" in notes
    assert [note for note in notes if not note.startswith("Server at ")] == []
    patiently(lambda: person.api("GET", "/user"))
    with person.kernel() as kernel:
        assert kernel.run("print(6*7)") == "42\n"


def test_who_asked_for_an_image_starts_again(service: Service) -> None:
    person = service.person("carol")
    person.stop_server()
    path = "/hub/api/users/carol/server"
    assert person.request("POST", path, json={"image": "debian"}).status_code == 400
    person.start_server()


def test_strangers_are_told_no_version(service: Service) -> None:
    service.person("carol")
    stranger = HubClient(service.site, "carol")
    assert stranger.request("GET", "/hub/api").json() == {}
    assert "version" not in stranger.request("GET", "/user/carol/api").text
    for path in ("/hub/login", "/user/carol/lab"):
        for cookie in stranger.request("GET", path).headers.get_list("Set-Cookie"):
            assert "; secure" in cookie.lower(), cookie
