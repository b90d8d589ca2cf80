"""The example for production: who reaches whom, who knows what, and what it outlives."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from lab import Lab
from lab.acme import Pebble
from tests.kit.hub_client import HubClient, Kernel, Site, patiently
from tests.kit.listening import declared, listening
from tests.kit.network import PROBE, SCAN, Target, reach
from tests.kit.service import PASSWORD
from tests.kit.support import PROJECT, Run, down, dry, eventually, pyinfra

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "inventories/prod.py"
EDGE, HUB, DB = HOSTS = ("jupyter.example.com", "hub.example.com", "db.example.com")
OUTSIDE = "this machine"
SECRETS = PROJECT / f".secrets/{HUB}.json"
#: docs/hosts.md: the TCP ports of each host that each other reaches
PATHS = {
    (OUTSIDE, EDGE): {22, 80, 443},
    (OUTSIDE, HUB): {22},
    (OUTSIDE, DB): {22},
    (EDGE, HUB): {22, 8000},
    (EDGE, DB): {22},
    (HUB, EDGE): {22, 80, 443},
    (HUB, DB): {22, 5432},
    (DB, EDGE): {22, 80, 443},
    (DB, HUB): {22},
}
#: Seconds: longer than anybody overlooks, shorter than TCP tries
PULL = 60

# Connects as the Hub's user does, but for the arguments, which come on standard input as well.
_CONNECT = """
import sys, psycopg
line = sys.stdin.read()
try:
    psycopg.connect(line, connect_timeout=3).close()
except psycopg.OperationalError as error:
    print(str(error).splitlines()[-1])
else:
    print("connected")
"""


@dataclass
class Three:
    """The hosts, and alice, who uses the service through the edge."""

    lab: Lab
    alice: HubClient
    deploys: list[Run]

    @property
    def address(self) -> dict[str, str]:
        return {name: self.lab.host(name).address for name in HOSTS}

    def sudo(self, name: str, script: str, input: str | None = None) -> str:
        """What a script prints on a host as root. It has to succeed."""
        command = f"sudo sh -euc {shlex.quote(script)}"
        done = self.lab.run(name, command, input=input, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def scan(self, source: str) -> dict[tuple[str, str], set[int]]:
        """The ports of the other hosts that answer a host, or this machine, in any way."""
        names = {self.address[name]: name for name in HOSTS if name != source}
        if source == OUTSIDE:
            command = [sys.executable, "-c", SCAN, *names]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        else:
            output = self.sudo(source, f"python3 -c {shlex.quote(SCAN)} {' '.join(names)}")
        found: dict[str, dict[str, str]] = json.loads(output)
        return {(source, names[to]): set(map(int, ports)) for to, ports in found.items()}

    def connect(self, line: str) -> str:
        """What PostgreSQL says to a connection line on the hub."""
        python = "/opt/hubstead/userdb/current/bin/python"
        return self.sudo(HUB, f"{python} -c {shlex.quote(_CONNECT)}", input=line).strip()

    def log_in(self, username: str) -> HubClient:
        client = HubClient(self.alice.site, username)
        client.log_in(PASSWORD)
        return client

    def restarts(self) -> int:
        """How often systemd has tried to start the Hub again."""
        return int(self.sudo(HUB, "systemctl show -P NRestarts jupyterhub"))

    @contextmanager
    def unplugged(self, name: str) -> Iterator[None]:
        """Pull a host's cable, for as long as `PULL` says at least."""
        begin = time.monotonic()
        self.lab.unplug(name)
        try:
            yield
            time.sleep(max(0, begin + PULL - time.monotonic()))
        finally:
            self.lab.plug(name)


def deploy(*arguments: str) -> Run:
    """Deploy the example as it is; the lab plays Let's Encrypt."""
    return pyinfra(INVENTORY, *(arguments or ("deploys/all.py",)))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    lab = Lab()
    lab.up(INVENTORY)
    plan = dry(INVENTORY, "deploys/all.py")
    assert plan.status == 0, plan.end
    deploys = [deploy(), deploy()]
    assert deploys[0].status == 0, deploys[0].end
    ca = tmp_path_factory.mktemp("three") / "ca.pem"
    ca.write_text(Pebble(lab).root())
    site = Site(EDGE, lab.host(EDGE).address, ca, servers="servers.example.com")
    three = Three(lab, HubClient(site, "alice"), deploys)
    three.sudo(HUB, "hub-users add alice --password-stdin || true", input=f"{PASSWORD}\n")
    three.alice.log_in(PASSWORD)
    three.alice.take_token()
    three.alice.start_server()
    yield three
    down(lab, INVENTORY)


@pytest.fixture
def kernel(three: Three) -> Iterator[Kernel]:
    """A kernel of alice's, which remembers something. It still must when the test is over."""
    with three.alice.kernel() as kernel:
        kernel.run("memory = 'kept'")
        yield kernel
        patiently(kernel.connect)
        assert kernel.run("print(memory)") == "kept\n"


def test_a_second_deploy_changes_nothing(three: Three) -> None:
    for run in three.deploys[1:]:
        assert (run.status, run.changed) == (0, []), run.end
        assert run.operations > 0


def test_the_documented_paths_are_open_and_no_others(three: Three) -> None:
    found: dict[tuple[str, str], set[int]] = {}
    with ThreadPoolExecutor(2) as pool:
        for ports in pool.map(three.scan, (OUTSIDE, *HOSTS)):
            found |= ports
    assert found == PATHS


def test_the_same_holds_for_ipv6(three: Three) -> None:
    ports = (22, 80, 443, 5432, 8000, 8081, 10)
    for source in HOSTS:
        others = {three.lab.host(name).address6: name for name in HOSTS if name != source}
        targets = [(address, port) for address in others for port in ports]
        script = f"python3 -c {shlex.quote(PROBE)}"
        answers = json.loads(three.sudo(source, script, json.dumps(targets)))
        for (address, port), answer in zip(targets, answers, strict=True):
            wanted = "open" if port in PATHS[source, others[address]] else "silent"
            assert (source, address, port, answer) == (source, address, port, wanted)


@pytest.mark.parametrize("name", HOSTS)
def test_what_listens_is_on_the_list(three: Three, name: str) -> None:
    data = {"edge": "nginx", "tls": "acme"}
    assert listening(three.lab, name) == declared(data, name, hub=HUB, db=DB, edge=EDGE)


def test_users_servers_reach_the_hub_and_no_other_host(three: Three, kernel: Kernel) -> None:
    expected: dict[Target, str] = {("172.30.0.1", 8081): "open"}
    expected |= {("172.30.0.1", port): "closed" for port in (22, 443, 5432, 8000, 10)}
    expected |= {
        (address, port): "closed"
        for address in three.address.values()
        for port in (22, 80, 443, 5432, 8000)
    }
    assert reach(kernel, *expected) == expected


def test_the_database_is_reached_over_verified_tls_alone(three: Three) -> None:
    line = three.sudo(HUB, "cat /etc/jupyterhub/credentials/users")
    root = f"/etc/hubstead/trust/{DB}.pem"
    assert f"sslmode=verify-full sslrootcert={root}" in line
    assert three.connect(line) == "connected"
    refused = "pg_hba.conf rejects connection for host"
    assert refused in three.connect(line.replace("verify-full", "disable"))
    assert refused in three.connect(line.replace("user=userdb_reader", "user=postgres"))
    assert refused in three.connect(line.replace("dbname=userdb", "dbname=jupyterhub"))
    assert "password authentication failed" in three.connect(
        line.replace("password=", "password=0")
    )
    assert "certificate verify failed" in three.connect(
        line.replace(root, "/etc/hubstead/tls/ca.pem")
    )
    by_address = three.connect(line.replace(f"host={DB}", f"host={three.address[DB]}"))
    assert "does not match host name" in by_address
    query = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
    query += " WHERE client_addr IS NOT NULL"
    assert three.sudo(DB, f"cd /; runuser -u postgres -- psql -AtXc {shlex.quote(query)}") == "t\n"


def test_the_alarm_asks_for_what_each_host_serves(three: Three) -> None:
    """PostgreSQL's certificate too, by its own way into TLS."""
    metrics = "cat /var/lib/prometheus/node-exporter/hubstead_certificate.prom"
    for name, endpoint in (
        (EDGE, f'name="{EDGE}",port="443"'),
        (HUB, f'name="{HUB}",port="8000"'),
        (DB, f'name="{DB}",port="5432"'),
    ):
        shown = three.sudo(name, f"systemctl start hubstead-certificate-check; {metrics}")
        assert f"check_success{{{endpoint}}} 1\n" in shown
        served = int(re.findall(rf"timestamp_seconds{{{endpoint}}} (\d+)", shown)[0])
        assert served > time.time() + 7 * 86400


def test_each_host_has_only_the_secrets_that_it_needs(three: Three) -> None:
    """The database host has verifiers of passwords (RFC 5803), and the edge has nothing."""
    values: dict[str, str] = json.loads(SECRETS.read_text())
    assert len(values) >= 6
    search = "grep --exclude-dir=proc --exclude-dir=sys -D skip -rohaFf - / 2>/dev/null | sort -u"
    for name, marker in ((EDGE, "proxy_pass"), (DB, "hostssl")):
        found = three.sudo(
            name, search, "".join(f"{text}\n" for text in (*values.values(), marker))
        )
        assert found.splitlines() == [marker]
    keys = [three.sudo(name, "cat /etc/hubstead/tls/ca-key.pem") for name in HOSTS]
    assert len(set(keys)) == len(HOSTS)


def test_a_run_for_one_host_is_enough_for_it(three: Three) -> None:
    for name in (EDGE, HUB):
        run = deploy("--limit", name, "deploys/all.py")
        assert (run.status, run.changed) == (0, []), run.end


def test_a_run_for_one_host_asks_for_the_others_addresses(three: Three) -> None:
    three.lab.unplug(DB)
    try:
        run = deploy("--limit", HUB, "deploys/all.py")
    finally:
        three.lab.plug(DB)
    assert run.status == 1
    assert f"{DB} does not answer, and {HUB} has to know its addresses" in run.output


def test_an_authority_that_is_not_known_yet_is_asked_for(three: Three) -> None:
    three.sudo(EDGE, "rm -r /etc/hubstead/trust")
    run = deploy("--limit", EDGE, "deploys/tls.py")
    assert run.status == 1
    assert f"{EDGE} must know the authority of {HUB}" in run.output
    assert deploy("deploys/tls.py").status == 0


def test_new_authorities_are_followed(three: Three, kernel: Kernel) -> None:
    for name in (HUB, DB):
        three.sudo(name, "rm /etc/hubstead/tls/ca.pem /etc/hubstead/tls/ca-key.pem")
    run = deploy()
    assert run.status == 0, run.end
    assert "trust | Learn the authority of the host that it asks" in run.changed
    three.log_in("alice")
    assert deploy().changed == []


def check_recovered(three: Three) -> None:
    """Someone logs in, within seconds and not within the minutes that TCP would take."""
    patiently(lambda: three.log_in("alice"), 20)


def answered(call: Callable[[], httpx.Response]) -> httpx.Response | None:
    """An answer that comes in reasonable time; None where the connection is refused or reset."""
    begin = time.monotonic()
    try:
        return call()
    except httpx.TransportError:
        return None
    finally:
        assert time.monotonic() - begin < 20


def test_without_the_database_people_are_told_so(three: Three, kernel: Kernel) -> None:
    visitor = HubClient(three.alice.site, "alice")
    with three.unplugged(DB):
        kernel.run("memory")  # who is at work does not notice
        page = answered(lambda: visitor.try_to_log_in(PASSWORD))
        assert page is not None and page.status_code in (500, 503)
    check_recovered(three)


def test_without_the_hub_the_edge_says_so(three: Three, kernel: Kernel) -> None:
    with three.unplugged(HUB):
        time.sleep(5)  # a request on a connection that is in use waits for the hub
        page = answered(lambda: three.alice.request("GET", "/hub/login"))
        assert page is not None and page.status_code in (502, 503, 504)
    check_recovered(three)


def test_without_the_edge_everything_waits(three: Three, kernel: Kernel) -> None:
    with three.unplugged(EDGE):
        pass
    check_recovered(three)


def test_a_restart_of_the_database_costs_nothing(three: Three, kernel: Kernel) -> None:
    three.sudo(DB, "systemctl restart 'postgresql@*'")
    check_recovered(three)


#: The worst: the Hub has to try for long, without its database
WORST = (EDGE, HUB, DB)


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, marks=() if order == WORST else pytest.mark.every)
        for order in itertools.permutations(HOSTS)
    ],
    ids=lambda order: "-".join(name.split(".")[0] for name in order),
)
def test_hosts_come_back_in_any_order(three: Three, order: tuple[str, ...]) -> None:
    """After a power cut of all."""
    three.alice.notebook("kept.ipynb", "print('kept')")
    for name in HOSTS:
        three.lab.cut(name, stay_down=True)
    for name in order:
        three.lab.start(name)
        if order == WORST and name == HUB:
            eventually("the Hub has tried several times", lambda: three.restarts() > 1)
    patiently(lambda: three.log_in("alice"))
    patiently(three.alice.start_server)
    assert three.alice.cells("kept.ipynb") == ["print('kept')"]
    if order == WORST:
        values: dict[str, str] = json.loads(SECRETS.read_text())
        search = "exec 3<&0; journalctl --no-pager -a -o cat | grep -aoFf /dev/fd/3 | sort -u"
        marker = "Failed to connect to db"
        wanted = "".join(f"{text}\n" for text in (*values.values(), marker))
        assert three.sudo(HUB, search, wanted) == f"{marker}\n"


def test_a_last_deploy_has_nothing_to_mend(three: Three) -> None:
    run = deploy()
    assert (run.status, run.changed) == (0, []), run.end
