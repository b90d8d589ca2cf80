"""The shared JupyterLab without a browser: its people, restarts under their hands, intruders."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

from tests.kit.hub_client import patiently
from tests.kit.listening import declared, listening
from tests.kit.login_client import SESSION, LoginClient
from tests.kit.shared import PASSWORD, PORT, TOKEN, Shared
from tests.kit.support import PROJECT, eventually, pyinfra

pytestmark = pytest.mark.slow

SHARED_INVENTORY = PROJECT / "inventories/jupyterlab_login.py"
#: What JupyterLab serves: pages, API, files, its login, what never changes
PATHS = (
    "/", "/lab", "/lab/tree/notes.txt", "/tree", "/api", "/api/contents", "/api/kernels",
    "/api/status", "/api/sessions", "/api/terminals", "/api/me", "/files/notes.txt",
    "/files/../files/notes.txt", "/static/favicon.ico", "/static/lab/index.out.js",
    "/lab/extensions/x", "/lab/api/settings", "/nbconvert/html/notes.txt", "/metrics", "/view/x",
    "//api/contents", "/auth/../api/contents", "/auth/%2e%2e/api/contents", "/logout",
    "/internal/session", "/internal/login-needed", "/internal/health",
)  # fmt: skip


#: Whether each line of the input is in the memory of JupyterLab
_MEMORY = """
pid=$(systemctl show -P MainPID jupyterlab)
exec python3 -c "
import sys
texts = [line.strip().encode() for line in sys.stdin]
found = [False] * len(texts)
with open('/proc/$pid/mem', 'rb', 0) as memory:
    for line in open('/proc/$pid/maps'):
        span, rights, *_ = line.split()
        if rights.startswith('rw'):
            start, end = (int(part, 16) for part in span.split('-'))
            memory.seek(start)
            try:
                data = memory.read(end - start)
            except OSError:
                continue
            found = [there or text in data for there, text in zip(found, texts)]
print(*found)
"
"""


def test_what_listens_is_on_the_list(shared: Shared) -> None:
    data = {"application": "jupyterlab", "edge": "nginx", "edge_https_port": PORT}
    assert listening(shared.lab, shared.name) == declared(data, shared.name, hub=shared.name)


def test_nothing_answers_without_a_session(shared: Shared) -> None:
    ada = shared.person("ada")
    ada.save("notes.txt", "private")
    assert ada.request("GET", "/files/notes.txt").text == "private"
    stranger = LoginClient(shared.site, PORT)
    answers = {path: stranger.page(path) for path in PATHS}
    answers |= {f"{path} as a program": stranger.request("GET", path) for path in PATHS}
    leaks = {
        path: answer.status_code
        for path, answer in answers.items()
        if answer.status_code not in (301, 302, 401, 404) or "private" in answer.text
    }
    assert leaks == {}
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert stranger.request(method, "/api/contents/notes.txt").status_code == 401
    token = shared.sudo(f"cat {TOKEN}")
    for path in ("/api/events/subscribe", "/terminals/websocket/1", "/lsp/ws/x"):
        with pytest.raises(WebSocketBadStatusException, match="401"):
            stranger.socket(path)
    # the token alone is no way in: the proxy puts its own in the place of the visitor's
    bearer = {"Authorization": f"token {token}"}
    assert stranger.request("GET", "/api/contents", headers=bearer).status_code == 401
    assert stranger.request("GET", f"/api/contents?token={token}").status_code == 401


def test_the_token_shows_up_nowhere(shared: Shared) -> None:
    ada = shared.person("ada")
    token = shared.sudo(f"cat {TOKEN}")
    assert len(token) == 64
    for path in ("/lab", "/tree", "/api/status", "/lab/api/settings", "/auth/account"):
        answer = ada.page(path)
        assert token not in answer.text and token not in str(answer.headers)
    shown = "journalctl --no-pager -b; ps axww; cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    assert token not in shared.sudo(f"{shown}; cat /var/log/nginx/* || true")
    readable = shared.sudo(f"stat -c '%U %G %a' {TOKEN} /run/hubstead-token")
    assert readable == "jupyterlab hubstead-token 640\njupyterlab hubstead-token 2710\n"


def test_a_session_is_not_told_to_the_code_of_others(shared: Shared) -> None:
    """Everybody's code runs in JupyterLab's account: the cookie of the login must not get there."""
    ada = shared.person("ada")
    secret = ada.http.cookies[SESSION]
    ada.page("/lab")
    kernel = ada.kernel()
    channel = ada.socket(f"/api/kernels/{kernel}/channels")
    # the memory of JupyterLab itself, in which a request that came lately still lies
    assert shared.sudo(_MEMORY, input=f"{secret}\n{ada.origin}\n").split() == ["False", "True"]
    channel.close()


@pytest.mark.parametrize(
    "unit",
    ["jupyterlab", "hubstead-login", "hubstead-login-relay", "postgresql@*", "nginx"],
)
def test_a_restart_costs_nobody_their_work(shared: Shared, unit: str) -> None:
    ada = shared.person("ada")
    ada.save("work.txt", f"before the restart of {unit}")
    kernel = ada.kernel()
    ada.run(kernel, "kept = 42")
    shared.sudo(f"systemctl restart '{unit}'")

    def read() -> str:
        answer = ada.request("GET", "/files/work.txt").raise_for_status()
        return answer.text

    assert patiently(read) == f"before the restart of {unit}"
    if unit == "jupyterlab":
        kernel = ada.kernel()
        ada.run(kernel, "kept = 42")
    assert ada.run(kernel, "print(kept)") == "42\n"


def test_a_deploy_ends_nobodys_kernel(shared: Shared) -> None:
    """It waits with a restart that would, says so each time, and makes up for it afterwards."""
    changed = ("--data", "jupyterlab_memory_limit=3G")
    process = shared.sudo("systemctl show -P MainPID jupyterlab")
    ada = shared.person("ada")
    kernel = ada.kernel()
    ada.run(kernel, "kept = 42")
    for _ in range(2):
        run = pyinfra(SHARED_INVENTORY, *changed, "deploys/jupyterlab.py")
        assert run.status == 0, run.end
        assert "jupyterlab.service goes on as it was" in run.output
        assert shared.sudo("systemctl show -P MainPID jupyterlab") == process
    assert (run.changed, ada.run(kernel, "print(kept)")) == ([], "42\n")
    for each in ada.api("GET", "/kernels"):
        ada.api("DELETE", f"/kernels/{each['id']}")
    late = pyinfra(SHARED_INVENTORY, *changed, "deploys/jupyterlab.py")
    assert late.changed == ["jupyterlab | Run JupyterLab"], late.end
    assert shared.sudo("systemctl show -P MainPID jupyterlab") != process
    back = pyinfra(SHARED_INVENTORY, "deploys/jupyterlab.py")
    assert back.status == 0, back.end


def test_a_database_that_is_away_is_a_page_and_not_the_end(shared: Shared) -> None:
    ada = shared.person("ada")
    shared.sudo("systemctl stop 'postgresql@*'")
    try:
        answer = ada.page("/lab")
        assert answer.status_code == 503 and "does not answer" in answer.text
    finally:
        shared.sudo("systemctl start postgresql")
    eventually("ada is still logged in", ada.is_logged_in)


def check_it_is_closed(channel: WebSocket, deadline: float) -> None:
    with pytest.raises(WebSocketException):
        channel.settimeout(60)
        while True:
            if not channel.recv():
                raise WebSocketException("closed")
    assert time.monotonic() < deadline


@pytest.mark.parametrize("end", ["logout", "disable", "time"])
def test_the_end_of_a_session_ends_everything(shared: Shared, end: str) -> None:
    bob = shared.person("bob")
    kernel = bob.kernel()
    channel = bob.socket(f"/api/kernels/{kernel}/channels")
    copied = bob.cookies()
    thief = LoginClient(shared.site, PORT)
    name = bob.api("POST", "/terminals")["name"]
    terminal = thief.socket(f"/terminals/websocket/{name}", cookies=copied)
    terminal.send(json.dumps(["stdin", "echo $((6 * 7))\r"]))
    while "42" not in str(terminal.recv()):
        pass
    if end == "logout":
        assert bob.log_out().status_code == 303
    elif end == "disable":
        shared.sudo("hub-users disable bob")
    else:
        shared.end_sessions()
    minute = time.monotonic() + 60
    check_it_is_closed(terminal, minute)
    check_it_is_closed(channel, minute)
    assert thief.request("GET", "/api/contents", headers={"Cookie": copied}).status_code == 401
    with pytest.raises(WebSocketBadStatusException, match="401"):
        thief.socket(f"/api/kernels/{kernel}/channels", cookies=copied)
    if end == "disable":
        shared.sudo("hub-users enable bob")


def test_many_guesses_from_one_address_delay_nobody_else(shared: Shared) -> None:
    """In one queue bob's check would come after all of them."""
    shared.visitor("bob")
    front = f"[{shared.lab.host(shared.front).address6}]"
    bob = LoginClient(replace(shared.site, address=front), PORT, "bob")

    def guess(number: int) -> int:
        return LoginClient(shared.site, PORT, f"pupil{number}").log_in("a wrong guess").status_code

    with ThreadPoolExecutor(200) as pool:
        flood = [pool.submit(guess, number) for number in range(200)]
        eventually("guesses are answered", lambda: any(each.done() for each in flood))
        assert bob.log_in(PASSWORD).status_code == 303
        assert sum(not each.done() for each in flood) > 100
    assert {each.result() for each in flood} <= {403, 503}


def test_hostile_forms_get_nowhere(shared: Shared) -> None:
    shared.visitor("ada")
    for name, password in (
        ("' OR '1'='1", "' OR '1'='1"),
        ("ada'--", "x"),
        ("ada", "' OR '1'='1"),
        ("ada\x00", PASSWORD),
        ("ada", f"{PASSWORD}\x00"),
        ("ada", "p" * 73),
        ("", ""),
    ):
        guest = LoginClient(shared.site, PORT)
        answer = guest.submit("/auth/login", "/auth/login", username=name, password=password)
        assert answer.status_code in (400, 403, 429), (name, answer.status_code)
        assert not guest.is_logged_in()
    guest = LoginClient(shared.site, PORT)
    answer = guest.submit("/auth/login", "/auth/login", username="x", password="p" * 10_000_000)
    assert answer.status_code == 413
    bare = {"username": "ada", "password": PASSWORD}
    assert guest.request("POST", "/auth/login", data=bare).status_code == 403


def test_a_large_file_comes_and_goes(shared: Shared) -> None:
    ada = shared.person("ada")
    text = "0123456789abcdef" * 1024 * 1024
    ada.save("large.txt", text)
    assert ada.request("GET", "/files/large.txt").text == text
    ada.api("DELETE", "/contents/large.txt")


def test_it_comes_back_after_a_power_cut(shared: Shared) -> None:
    ada = shared.person("ada")
    ada.save("work.txt", "on the disk")
    shared.sudo("sync")
    shared.lab.cut(shared.name)

    def read() -> str:
        return ada.request("GET", "/files/work.txt").raise_for_status().text

    # the session is in the database, which was cut as well
    assert patiently(read, 120) == "on the disk"


def test_a_hundred_people_log_in_at_once(shared: Shared) -> None:
    """All get in, and who is at work is answered meanwhile."""
    ada = shared.person("ada")
    sql = (
        "INSERT INTO users (username, password_hash) SELECT $$p$$ || number, password_hash FROM"
        " users, generate_series(1, 100) AS number WHERE username = $$ada$$ ON CONFLICT DO NOTHING"
    )
    shared.sudo(f"cd / && runuser -u postgres -- psql -q -d userdb -c '{sql}'")

    def log_in(number: int) -> tuple[int, bool]:
        person = LoginClient(shared.site, PORT, f"p{number}")
        return person.log_in(PASSWORD).status_code, person.is_logged_in()

    with ThreadPoolExecutor(100) as pool:
        answers = [pool.submit(log_in, number) for number in range(1, 101)]
        while not all(answer.done() for answer in answers):
            assert ada.is_logged_in()
            time.sleep(0.5)
    assert {answer.result() for answer in answers} <= {(302, True), (303, True)}
