"""The Hub inside another application, as its inventory comes: deployed twice, and used for real.

What a line of its list (shared/systems.md, 001) shares with other inventories is tested where those
are: frames and scripts of two origins (tests/browser), what servers reach, after a reboot and a
restart of Docker too (test_isolation), what is refused of a container (tests/attacks).
"""

from __future__ import annotations

import json
import runpy
import shlex
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from lab import Lab
from lab.acme import Pebble
from tests.kit.hub_client import HubClient, Site
from tests.kit.support import PROJECT, Run, down, eventually, pyinfra

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "inventories/integrable.py"
NAME, SERVERS, BASE = "notebooks.example.org", "servers.example.org", "/jupyter/"
APP = "https://app.example.org"
EXAMPLE = SimpleNamespace(**runpy.run_path(str(PROJECT / "docs/examples/integrator.py")))
#: Of everything that a person has
LEFT = r"""
docker ps --all --format '{{.Names}}' | grep visitor || true
find /srv/hubstead/files -mindepth 1 -maxdepth 2 -not -path '*/.accounts/*' | grep visitor || true
cat /var/lib/jupyterhub/*.json 2>/dev/null | grep -o 'visitor[^"]*' || true
curl -s --noproxy '*' -H "Authorization: token $(cat /etc/hubstead/chp/token)" \
    http://127.0.0.1:12/api/routes | grep -o 'user/visitor[^"]*' || true
"""


@dataclass
class Application:
    """What has the Hub in its pages, and the token of its account."""

    lab: Lab
    site: Site
    token: str

    @property
    def hub(self) -> str:
        return f"https://{NAME}{BASE}"

    def session(self, name: str) -> Any:
        """The example's."""
        return EXAMPLE.Session(self.hub, self.token, name, str(self.site.ca))

    def client(self, name: str = "", token: str = "") -> HubClient:
        client = HubClient(self.site, name)
        client.token = token
        return client

    def sudo(self, script: str) -> str:
        done = self.lab.run(NAME, f"sudo sh -euc {shlex.quote(script)}", check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def left(self) -> str:
        """What the host has of the example's people."""
        users = self.client(token=self.token).api("GET", "/users")
        known = [user["name"] for user in users if user["name"].startswith("visitor")]
        return " ".join([*known, *self.sudo(LEFT).split()])

    def deploy(self, *data: str) -> Run:
        words = [word for each in data for word in ("--data", each)]
        return pyinfra(INVENTORY, *words, "deploys/all.py")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    lab = Lab()
    lab.up(INVENTORY)
    try:
        runs = [pyinfra(INVENTORY, "deploys/all.py") for _ in range(2)]
        assert [run.status for run in runs] == [0, 0], runs[0].end + runs[1].end
        assert runs[1].changed == [] and runs[1].operations > 50
        ca = tmp_path_factory.mktemp("authority") / "ca.pem"
        ca.write_text(Pebble(lab).root())
        address = lab.host(NAME).address
        secrets = json.loads((PROJECT / f".secrets/{NAME}.json").read_text())
        site = Site(NAME, address, ca, base=BASE, servers=SERVERS)
        known = socket.getaddrinfo

        def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
            return known(address if host in (NAME, SERVERS) else host, *arguments, **options)

        with pytest.MonkeyPatch.context() as names:
            # the example asks the system's resolver, as applications do
            names.setattr(socket, "getaddrinfo", look_up)
            names.setenv("NO_PROXY", "*")
            yield Application(lab, site, secrets["hub_service_application_token"])
    finally:
        down(lab, INVENTORY)


def test_the_example_does_what_its_page_says(
    application: Application,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in (
        ("HUB", application.hub), ("TOKEN", application.token), ("CA", str(application.site.ca)),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    EXAMPLE.main("visitor-1")
    assert capsys.readouterr().out == "visitor-1 computed 6, and wrote b'6\\n'\n"
    eventually("nothing is left", lambda: not application.left(), 90)
    with application.session("visitor-2") as session:
        with pytest.raises(EXAMPLE.IntegratorError, match="ZeroDivisionError"):
            session.run("1 / 0")
        with pytest.raises(EXAMPLE.IntegratorError, match="409"), application.session("visitor-2"):
            pass


def test_there_is_no_login_but_by_token(application: Application) -> None:
    visitor = application.client()
    page = visitor.request("GET", f"{BASE}hub/login")
    assert page.status_code == 403 and "There is no login here" in page.text
    refused = visitor.request("POST", f"{BASE}hub/login", data={"username": "admin"})
    assert refused.status_code == 403
    with application.session("visitor-3") as session, application.session("visitor-4") as other:
        lab = f"{session.url}/lab"
        for headers, status in (
            ({"Authorization": f"token {session.token}"}, 200),
            ({"Authorization": f"token {session.token[:-1]}"}, 302),
            ({"Authorization": f"token {other.token}"}, 403),
            ({}, 302),
        ):
            answer = visitor.http.get(lab, headers=headers)
            assert answer.status_code == status, (headers, answer.text)
        with application.site.client() as browser:
            # the URL of a frame, and the cookie that it gets
            assert browser.get(lab, params={"token": session.token}).status_code in (200, 302)
            assert browser.get(lab).status_code == 200
            answer = browser.get(lab)
        policy = answer.headers["Content-Security-Policy"]
        assert f"frame-ancestors {APP}" in policy or APP in policy
        # whom the account may not be
        weak = application.client(session.name, session.token)
        for method, path in (("GET", "/users"), ("POST", "/users/eve"), ("POST", "/shutdown")):
            assert weak.request(method, f"{BASE}hub/api{path}", json={}).status_code in (403, 404)
        strong = application.client(token=application.token)
        for path in ("/shutdown", "/groups/x"):
            answer = strong.request("POST", f"{BASE}hub/api{path}", json={})
            assert answer.status_code == 403


def test_servers_are_as_the_page_says(application: Application) -> None:
    with application.session("visitor-5") as session:
        (found,) = json.loads(application.sudo("docker inspect hubstead-visitor-2d5--"))
        assert found["HostConfig"]["Memory"] == 4 << 30
        (network,) = found["NetworkSettings"]["Networks"].values()
        assert ip_address(network["IPAddress"]) in ip_network("172.27.0.0/16")
        # the database, sshd, the proxy's API, and what plays the internet
        tried = session.run(
            "import socket\n"
            "for where in (('172.27.0.1', 5432), ('172.27.0.1', 22), ('172.27.0.1', 12),\n"
            f"              ('{application.site.address}', 22), ('169.254.169.254', 80)):\n"
            "    try: socket.create_connection(where, 2); print('connected')\n"
            "    except OSError as error: print(type(error).__name__)"
        )
        assert "connected" not in tried and len(tried.split()) == 5


def test_who_stays_away_is_gone_and_who_works_is_not(application: Application) -> None:
    run = application.deploy("hub_idle_timeout=20")
    assert run.status == 0, run.end
    try:
        at_work = application.session("visitor-at-work")
        with at_work:
            for number in range(3):
                # what an application does that forgets them
                application.session(f"visitor-{number}-away").__enter__().put("kept.txt", b"")
            busy = "import time; begun = time.time()\nwhile time.time() - begun < 100: pass"
            with ThreadPoolExecutor(1) as thread:
                computing = thread.submit(at_work.run, busy + "\nprint('done')", 150)
                eventually(
                    "nobody but who works is left",
                    lambda: "away" not in application.left(),
                    240,
                )
                assert computing.result() == "done\n"
            # who has the name next finds nothing
            with (
                application.session("visitor-0-away") as session,
                pytest.raises(EXAMPLE.IntegratorError, match="404"),
            ):
                session.get("kept.txt")
        eventually("nothing is left", lambda: not application.left(), 90)
    finally:
        assert application.deploy().status == 0


@pytest.mark.every
def test_fifty_visits_in_a_row_and_twenty_at_once_leave_nothing(application: Application) -> None:
    def visit(number: int) -> bytes:
        with application.session(f"visitor-{number}") as session:
            session.put("question", str(number).encode())
            session.run("open('answer', 'w').write(str(int(open('question').read()) * 2))")
            return bytes(session.get("answer"))

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(visit, range(20))) == [b"%d" % (2 * n) for n in range(20)]
    assert [visit(n) for n in range(50)] == [b"%d" % (2 * n) for n in range(50)]
    eventually("nothing is left", lambda: not application.left(), 90)
    memory = application.sudo("systemctl show -P NRestarts jupyterhub configurable-http-proxy")
    assert memory.split() == ["0", "0"]
