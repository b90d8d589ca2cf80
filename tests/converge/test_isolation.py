"""What a user's server and an outsider reach of the deployed service.

"The internet" and the clouds' metadata address are played by a lab host outside the deploy, where
a packet that a broken firewall lets out is seen to arrive.
"""

import json
import shlex
import uuid
from collections.abc import Iterator

import pytest

from tests.kit.network import LISTEN, NOTE_ARRIVALS, PROBE, Target, reach
from tests.kit.service import NAME, PASSWORD, Service
from tests.kit.support import PROJECT, down

pytestmark = pytest.mark.slow

INTERNET = PROJECT / "tests/inventories/firewall_internet.py"
OUTSIDE, METADATA = "outside.example.net", "169.254.169.254"
GATEWAY = "172.30.0.1"


class Outside:
    """The host outside."""

    def __init__(self, service: Service) -> None:
        self.lab = service.lab
        self.address = self.lab.host(OUTSIDE).address
        for unit, program, arguments in (
            ("listen", LISTEN, "80 443"),
            ("arrivals", NOTE_ARRIVALS, ""),
        ):
            python = f"python3 -c {shlex.quote(program)} {arguments}"
            self.run(f"sudo systemd-run --quiet --unit=outside-{unit} {python}")

    def run(self, command: str, input: str | None = None) -> str:
        return self.lab.run(OUTSIDE, command, input=input).stdout

    def arrived(self, source: str) -> set[str]:
        """The addresses of this host to which packets from `source` came."""
        lines = self.run("sudo journalctl -u outside-arrivals -o cat").splitlines()
        return {line.split()[1] for line in lines if line.startswith(f"{source} ")}

    def probe(self, *targets: Target) -> dict[Target, str]:
        command = f"python3 -c {shlex.quote(PROBE)}"
        answers = json.loads(self.run(command, json.dumps(targets)))
        return dict(zip(targets, answers, strict=True))


@pytest.fixture(scope="module")
def outside(service: Service) -> Iterator[Outside]:
    service.lab.up(INTERNET)
    yield Outside(service)
    down(service.lab, INTERNET)


def test_a_users_server_reaches_the_hub_and_the_proxy_and_nothing_else(
    service: Service, outside: Outside
) -> None:
    other = service.server_address("bob")
    expected = {(GATEWAY, port): "open" for port in (80, 443, 8081)}
    expected |= {(GATEWAY, port): "closed" for port in (22, 5432, 10)}
    expected |= {(service.address, port): "closed" for port in (22, 5432, 8081, 10)}
    expected |= {(other, 8888): "closed", (METADATA, 80): "closed", (outside.address, 80): "closed"}
    with service.person("alice").kernel() as kernel:
        assert reach(kernel, *expected) == expected
    assert outside.arrived(service.address) == set()


def test_what_it_does_not_reach_is_there(service: Service, outside: Outside) -> None:
    """The test before would prove nothing where this one fails."""
    port = f"exec 3<>/dev/tcp/{outside.address}/80; exec 4<>/dev/tcp/127.0.0.1/10"
    port += f"; exec 5<>/dev/tcp/{service.server_address('bob')}/8888"
    service.sudo(f"bash -c {shlex.quote(port)}")
    assert outside.arrived(service.address) == {outside.address}


def test_a_users_server_sees_the_service_as_its_own_user_only(service: Service) -> None:
    """Its token is good for the person's own things: nobody else's, and not the metrics."""
    ask = """
import os, urllib.error, urllib.request
def ask(path):
    headers = {"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]}
    request = urllib.request.Request(os.environ["JUPYTERHUB_API_URL"] + path, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
paths = ["/user", "/users", "/users/bob", "/users/admin/tokens", "/../metrics", "/proxy"]
print(*map(ask, paths))
"""
    service.person("bob")
    with service.person("alice").kernel() as kernel:
        own, *others = kernel.run(ask).split()
    assert own == "200"
    assert set(others) <= {"403", "404"}


@pytest.mark.parametrize("way", [f"http://{GATEWAY}:8081", f"https://{GATEWAY}"])
def test_a_users_server_cannot_guess_from_many_addresses(service: Service, way: str) -> None:
    """By the Hub's own port or through the proxy: where it says that it is counts nothing."""
    victim = f"victim-{uuid.uuid4().hex[:8]}"
    visitor = service.visitor(victim)
    guess = f"""
import re, requests, urllib3
urllib3.disable_warnings()
def guess(number):
    address = f"203.0.113.{{number}}"
    headers = {{"Host": "{NAME}", "X-Forwarded-For": address, "X-Real-IP": address}}
    options = {{"headers": headers, "verify": False, "allow_redirects": False, "timeout": 20}}
    page = requests.get("{way}/hub/login", **options)
    (token,) = re.findall(r'name="_xsrf" value="([^"]*)"', page.text)
    headers["Cookie"] = "; ".join(f"{{c.name}}={{c.value}}" for c in page.cookies)
    fields = {{"username": "{victim}", "password": f"guess {{number}}", "_xsrf": token}}
    return requests.post("{way}/hub/login", data=fields, **options).status_code
print(*map(guess, range(11)))
"""
    with service.person("alice").kernel() as kernel:
        assert kernel.run(guess).split() == ["403"] * 10 + ["429"]
    visitor.log_in(PASSWORD)


def test_one_person_cannot_open_anothers_server(service: Service) -> None:
    bob = service.person("bob")
    alice = service.person("alice")
    assert alice.request("GET", f"/user/{bob.username}/api/contents").status_code in (403, 404)
    assert alice.request("DELETE", f"/hub/api/users/{bob.username}/server").status_code in (
        403,
        404,
    )
    assert bob.server_answers()


def test_an_outsider_reaches_ssh_and_the_proxy_only(service: Service, outside: Outside) -> None:
    hub = service.lab.host(NAME)
    outside.run(f"sudo ip route replace 172.30.0.0/16 via {hub.address}")
    ports = [*range(1, 1025), 5432, 8000, 8001, 8080, 8081, 8888, 54321]
    straight = [(service.server_address("bob"), 8888), (GATEWAY, 8081)]
    ours = [(address, port) for address in (hub.address, hub.address6) for port in ports]
    found = outside.probe(*ours, *straight)
    answering = {target for target, answer in found.items() if answer != "silent"}
    assert answering == {(a, port) for a in (hub.address, hub.address6) for port in (22, 80, 443)}
