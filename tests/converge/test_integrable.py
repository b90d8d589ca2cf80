"""The Hub inside another application, used for real: by its settings, and as its inventory comes.

What a line of its list (shared/systems.md, 001) shares with other inventories is tested where those
are: frames and scripts of two origins (tests/browser), what servers reach, after a reboot and a
restart of Docker too (test_isolation), what is refused of a container (tests/attacks).
"""

from __future__ import annotations

import json
import re
import runpy
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import Lab
from lab.acme import Pebble
from tests.kit.hub_client import HubClient, Site
from tests.kit.service import Deployed, Service
from tests.kit.support import PROJECT, down, eventually

pytestmark = pytest.mark.slow

INVENTORY, NAME = PROJECT / "inventories/integrable.py", "notebooks.example.org"
SETTINGS = runpy.run_path(str(PROJECT / "group_data/integrable.py"))
#: Of these, what the host of other tests has its own way, and what takes long
OTHERWISE = {"tls", "tls_acme_email", "hub_servers_name", "hub_kernels"}
BASE, APP = SETTINGS["hub_base_url"], "https://app.example.org"
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

    service: Service
    site: Site
    token: str

    @property
    def hub(self) -> str:
        return f"https://{self.site.name}{BASE}"

    def session(self, name: str) -> Any:
        """The example's."""
        return EXAMPLE.Session(self.hub, self.token, name, str(self.site.ca))

    def client(self, name: str = "", token: str = "") -> HubClient:
        client = HubClient(self.site, name)
        client.token = token
        return client

    def left(self) -> str:
        """What the host has of the example's people."""
        users = self.client(token=self.token).api("GET", "/users")
        known = [user["name"] for user in users if user["name"].startswith("visitor")]
        return " ".join([*known, *self.service.sudo(LEFT).split()])


@contextmanager
def resolved(names: str, address: str) -> Iterator[None]:
    """The example asks the system's resolver, as applications do."""
    look_up = socket.getaddrinfo

    def look(host: Any, *arguments: Any, **options: Any) -> Any:
        known = isinstance(host, str) and re.fullmatch(names, host)
        return look_up(address if known else host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look)
        patch.setenv("NO_PROXY", "*")
        yield


def on_the_host_of_other_tests(deployed: Deployed) -> tuple[Service, Site]:
    """What serves people of the users table becomes what the inventory says, in one run."""
    service = deployed.alone(
        *(
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in SETTINGS.items()
            if not key.startswith("__") and key not in OTHERWISE
        )
    )
    run = service.run()
    assert run.status == 0, run.end
    return service, replace(service.site, base=BASE)


def as_it_comes(lab: Lab, directory: Path) -> tuple[Service, Site]:
    """From the bare host, with an ACME server; the second run changes nothing."""
    lab.up(INVENTORY)
    service = Service(lab, directory, INVENTORY, NAME)
    runs = [service.run() for _ in range(2)]
    assert [run.status for run in runs] == [0, 0], runs[0].end + runs[1].end
    assert runs[1].changed == [] and runs[1].operations > 50
    ca = directory / "ca.pem"
    ca.write_text(Pebble(lab).root())
    servers = SETTINGS["hub_servers_name"]
    return service, Site(NAME, lab.host(NAME).address, ca, base=BASE, servers=servers)


@pytest.fixture(
    scope="module", params=["settings", pytest.param("inventory", marks=pytest.mark.every)]
)
def application(
    request: pytest.FixtureRequest, deployed: Deployed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Application]:
    if request.param == "settings":
        service, site = on_the_host_of_other_tests(deployed)
    else:
        service, site = as_it_comes(deployed.lab, tmp_path_factory.mktemp("integrable"))
    secrets = json.loads((PROJECT / f".secrets/{service.name}.json").read_text())
    token = secrets["hub_service_application_token"]
    with resolved(rf"(.*\.)?{site.name}|{SETTINGS['hub_servers_name']}", site.address):
        yield Application(service, site, token)
    if request.param == "inventory":
        down(deployed.lab, INVENTORY)


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
        url = f"{session.url}/api/kernelspecs"
        headers = {"Authorization": f"token {session.token}"}
        kernels = application.client().http.get(url, headers=headers).json()
        whole = application.service.inventory == INVENTORY
        wanted = SETTINGS["hub_kernels"] if whole else ["python"]
        assert len(kernels["kernelspecs"]) == len(wanted)
        (found,) = json.loads(application.service.sudo("docker inspect hubstead-visitor-2d5--"))
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
    settings = application.service.settings
    application.service.settings = (*settings, "hub_idle_timeout=20")
    run = application.service.run()
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
        application.service.settings = settings
        assert application.service.run().status == 0


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
    memory = application.service.sudo(
        "systemctl show -P NRestarts jupyterhub configurable-http-proxy"
    )
    assert memory.split() == ["0", "0"]
