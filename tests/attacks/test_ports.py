"""An account of the host waits for the service's ports, and guesses passwords past its front."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator

import pytest

from tests.kit.hub_client import patiently
from tests.kit.network import reach
from tests.kit.service import INVENTORY, NAME, PASSWORD, STRANGER, Deployed, Service
from tests.kit.support import down

pytestmark = pytest.mark.slow

GATEWAY, LOOPBACK, HUB = "172.30.0.1", "127.0.0.1", 8081
#: A port that is nobody's, where the account does get what it wants
FREE = 8082
#: Proxy and edge: settings, the proxy's unit, and the ports beside the Hub's and the public ones
CASES: dict[str, tuple[tuple[str, ...], str, tuple[int, ...]]] = {
    "traefik": ((), "traefik", (10,)),
    "chp": (("proxy=chp",), "configurable-http-proxy", (12,)),
    "traefik behind apache": (("edge=apache",), "traefik", (10, 8000)),
    "chp behind nginx": (("proxy=chp", "edge=nginx"), "configurable-http-proxy", (12, 8000)),
}
PARAMS = [
    pytest.param(case, marks=[] if settings == () else [pytest.mark.every])
    for case, (settings, _, _) in CASES.items()
]

# Binds each ADDRESS:PORT, and what comprises it, in each way, over and over. Prints what it gets.
GRAB = r"""
import itertools, socket, sys
wanted = [
    (int(port), each)
    for address, _, port in (word.rpartition(":") for word in sys.argv[1:])
    for each in (address, "0.0.0.0", "::", "::ffff:" + address)
]
reuse = (), (socket.SO_REUSEADDR,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
got = set()
for (port, address), options in itertools.cycle(itertools.product(wanted, reuse)):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as grabbed:
        try:
            for option in options:
                grabbed.setsockopt(socket.SOL_SOCKET, option, 1)
            grabbed.bind((address, port))
            grabbed.listen()
        except OSError:
            continue
        if port not in got:
            got.add(port)
            print(port, flush=True)
"""

# Logs in fifteen times, each from another address if one believes it. Prints the answers.
GUESS = r"""
import json, re, sys, urllib.error, urllib.parse, urllib.request
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def guess(number, url):
    made_up = {"X-Forwarded-For": f"203.0.113.{number}", "X-Forwarded-Proto": "https"}
    try:
        form = direct.open(urllib.request.Request(url, headers=made_up), timeout=20)
        xsrf = re.search("_xsrf=([^;]+)", form.headers["Set-Cookie"])[1]
        fields = {"username": "alice", "password": f"guess {number}", "_xsrf": xsrf}
        data = urllib.parse.urlencode(fields).encode()
        cookie = {"Cookie": "_xsrf=" + xsrf}
        return direct.open(urllib.request.Request(url, data, made_up | cookie), timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return str(error)
print(json.dumps([guess(number, sys.argv[1]) for number in range(15)]))
"""


@pytest.fixture(scope="module")
def service(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = deployed.alone().lab
    yield Service(lab, tmp_path_factory.mktemp("ports"))
    down(lab, INVENTORY)


@pytest.fixture(scope="module", params=PARAMS)
def case(request: pytest.FixtureRequest, service: Service) -> str:
    """The host with one proxy and edge or another; a second run has nothing to do."""
    service.settings = CASES[request.param][0]
    first = service.run()
    assert first.status == 0, first.end
    second = service.run()
    assert (second.status, second.changed) == (0, []), second.end
    return str(request.param)


def targets(case: str) -> list[str]:
    """Where the service listens, and a place that is free."""
    own = [f"{LOOPBACK}:{port}" for port in (*CASES[case][2], 80, 443, FREE)]
    return [f"{GATEWAY}:{HUB}", *own]


def grabbed(service: Service, case: str, meanwhile: str) -> set[int]:
    """What an account gets of the ports while root does something."""
    words = shlex.join(["python3", "-c", GRAB, *targets(case)])
    unit = f"grab-{time.monotonic_ns()}"
    service.sudo(f"systemd-run -q --unit={unit} --uid={STRANGER} {words}")
    try:
        service.sudo(f"sleep 2; {meanwhile}; sleep 2")
        # what it prints alone
        return set(map(int, service.sudo(f"journalctl -o cat -t python3 -u {unit}").split()))
    finally:
        service.sudo(f"systemctl stop {unit}")


def test_no_account_takes_a_port_in_a_restart(case: str, service: Service) -> None:
    both = f"jupyterhub {CASES[case][1]}"
    assert grabbed(service, case, f"systemctl restart {both}") == {FREE}
    assert grabbed(service, case, f"systemctl kill -s KILL {both}; sleep 8") == {FREE}
    assert grabbed(service, case, f"systemctl stop {both}; sleep 5") == {FREE}
    service.sudo(f"systemctl start {both}")
    holders = "systemctl restart 'hubstead-port-*'"
    assert grabbed(service, case, holders) == {FREE}
    service.check_works()


def test_a_hub_that_is_stopped_stays_stopped(case: str, service: Service) -> None:
    """Who asks for it is refused at once, and starts nothing."""
    visitor = service.visitor("alice")
    service.sudo("systemctl stop jupyterhub")
    try:
        for _ in range(3):
            assert visitor.request("GET", "/hub/login").status_code in (502, 503)
        assert service.sudo("systemctl is-active jupyterhub || true") == "inactive\n"
    finally:
        service.sudo("systemctl start jupyterhub")


def test_no_account_guesses_past_the_front(case: str, service: Service) -> None:
    url = f"http://{GATEWAY}:{HUB}/hub/login"
    guess = shlex.join(["python3", "-c", GUESS, url])
    refused: list[int | str] = json.loads(service.stranger(guess))
    assert len(refused) == 15 and set(refused) == {"<urlopen error [Errno 111] Connection refused>"}
    for port in CASES[case][2]:
        curl = (
            f"curl -s --noproxy '*' -k -o /dev/null -w '%{{exitcode}}' https://{LOOPBACK}:{port}/"
        )
        # 7: it could not connect (curl(1)); root does, to whatever answers
        assert service.stranger(curl) == "7", port
        assert service.sudo(f"{curl} || true") != "7", port


def test_servers_and_people_still_come_in(case: str, service: Service) -> None:
    with service.person("alice").kernel() as kernel:
        assert reach(kernel, (GATEWAY, HUB)) == {(GATEWAY, HUB): "open"}
    patiently(lambda: service.visitor("bob").log_in(PASSWORD))
    service.check_works()


def test_a_boot_gives_no_account_a_port(case: str, service: Service) -> None:
    """What it may have run at once, when the system is up so far (bootup(7))."""
    service.sudo("cat >/usr/local/bin/grab; chmod 755 /usr/local/bin/grab", input=GRAB)
    unit = f"""[Service]
User={STRANGER}
ExecStart=/usr/bin/python3 /usr/local/bin/grab {shlex.join(targets(case))}
[Install]
WantedBy=multi-user.target
"""
    service.sudo("cat >/etc/systemd/system/early.service; systemctl enable -q early", input=unit)
    try:
        service.lab.reboot(NAME)
        service.check_works()
        got = service.sudo("systemctl stop early; journalctl -b -o cat -t python3 -u early").split()
        assert {int(line) for line in got} == {FREE}
    finally:
        service.sudo(
            "systemctl disable -q --now early;"
            " rm /etc/systemd/system/early.service /usr/local/bin/grab; systemctl daemon-reload"
        )
