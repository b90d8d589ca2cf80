"""Parts of the service are stopped, restarted and rebooted under people who work with it."""

import html
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from bench.classroom import Bench
from tests.kit import forms
from tests.kit.hub_client import Kernel, patiently
from tests.kit.network import reach
from tests.kit.service import PASSWORD, Service
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

GATEWAY = "172.30.0.1"
VERSION = {"bookworm": 15, "trixie": 17}[os.environ.get("LAB_OS", "trixie")]
POSTGRESQL = f"postgresql@{VERSION}-main"


def check_same(kernel: Kernel) -> None:
    """The kernel still has what `remembering` gave it."""
    assert kernel.run("print(memory)") == "kept\n"


@contextmanager
def remembering(service: Service) -> Iterator[Kernel]:
    """A kernel of alice's, which has in the end what it had in the beginning."""
    with service.person("alice").kernel() as kernel:
        kernel.run("memory = 'kept'")
        yield kernel
        check_same(kernel)


def rules(service: Service) -> list[str]:
    """The rules of the host in their order, without Docker's own."""
    lines = service.sudo("iptables -S; ip6tables -S").splitlines()
    return [line for line in lines if "HUBSTEAD" in line or line.startswith("-P")]


def check_isolated(kernel: Kernel) -> None:
    """The rules work: a user's server reaches the Hub and the proxy, not sshd."""
    expected = {(GATEWAY, 8081): "open", (GATEWAY, 443): "open", (GATEWAY, 22): "closed"}
    assert reach(kernel, *expected) == expected


def test_kernels_compute_while_the_hub_is_stopped(service: Service) -> None:
    alice = service.person("alice")
    with remembering(service) as kernel:
        service.sudo("systemctl stop jupyterhub")
        check_same(kernel)
        # whoever loses the connection finds the way back without the Hub
        kernel.socket.close()
        kernel.connect()
        check_same(kernel)

        service.sudo("systemctl start jupyterhub")
        check_same(kernel)
        servers = patiently(lambda: alice.api("GET", "/users/alice"))["servers"]
        assert servers[""]["ready"]
        assert kernel.identity in [each["id"] for each in alice.server("GET", "/kernels")]
        service.check_works()


#: Servers, and ports of the users' network, that Docker does not know of
_STRAYS = """
docker ps --no-trunc --format 'docker-{{.ID}}.scope' | sort >/run/known
systemctl list-units --plain --no-legend --full 'docker-*.scope' | cut -d' ' -f1 | sort |
    comm -13 /run/known -
ports=$(ls /sys/class/net/hubstead0/brif | wc -l)
ends=$(docker ps --quiet --filter network=hubstead | wc -l)
[ "$ports" = "$ends" ] || echo "$ports ports for $ends containers"
"""


def test_a_hub_that_is_killed_comes_back_by_itself(service: Service) -> None:
    with remembering(service):
        service.sudo("systemctl kill --signal=KILL jupyterhub")
        service.check_works()


@pytest.mark.parametrize(
    "pattern", ["hubstead-*", "traefik*", "docker* containerd*", "postgresql@*"]
)
def test_what_is_killed_comes_back_by_itself(service: Service, pattern: str) -> None:
    """Docker and containerd at one moment: Docker 26 lost servers that ran on, and the next person
    at such an address reached one of somebody else.
    """
    service.person("alice")
    listed = f"systemctl list-units --type=service --state=running --plain --no-legend {pattern}"
    units = [line.split()[0] for line in service.sudo(listed).splitlines()]
    assert units
    killed = service.sudo(
        f"for unit in {' '.join(units)}; do systemctl show -P MainPID $unit; done"
    ).split()
    service.sudo(f"kill -9 {' '.join(killed)}")

    def again(unit: str, former: str) -> bool:
        state = service.sudo(f"systemctl show -P ActiveState -P MainPID {unit}").split()
        return "active" in state and former not in state

    for unit, former in zip(units, killed, strict=True):
        eventually(f"{unit} runs again", lambda unit=unit, former=former: again(unit, former))
    eventually("Docker knows what runs", lambda: service.sudo(_STRAYS) == "")
    service.check_works()


def test_who_stops_postgresql_finds_it_stopped(service: Service) -> None:
    state = f"systemctl show -P ActiveState {POSTGRESQL}"
    stops = (
        f"systemctl stop {POSTGRESQL}",
        # as its own user: not by way of systemd
        f"cd /; runuser -u postgres -- pg_ctlcluster --skip-systemctl-redirect {VERSION} main stop",
    )
    for stop in stops:
        service.sudo(stop)
        # longer than systemd waits before it brings something back
        assert service.sudo(f"sleep 7; {state}") == "inactive\n"
        service.sudo("systemctl start postgresql")
    service.check_works()


def test_postgresql_outlives_a_full_disk(service: Service) -> None:
    data = f"/var/lib/postgresql/{VERSION}/main"
    service.sudo(
        f"""
        mkdir /mnt/small && systemctl stop {POSTGRESQL}
        mount -t tmpfs -o size=150m,mode=700 none /mnt/small
        cp -a {data}/. /mnt/small && chown postgres: /mnt/small
        mount --bind /mnt/small {data}
        systemctl start {POSTGRESQL}
        """
    )
    try:
        # not one page is left for its lock file, for half a minute
        service.sudo(
            f"""
            fill() {{ cat /dev/zero >>/mnt/small/filler 2>/dev/null || true; }}
            fill
            kill -9 $(systemctl show -P MainPID {POSTGRESQL})
            sleep 1; rm -f {data}/postmaster.pid; fill
            sleep 30
            [ $(systemctl show -P NRestarts {POSTGRESQL}) -gt 3 ]
            ! systemctl is-active --quiet {POSTGRESQL}
            rm /mnt/small/filler
            """
        )
        answers = (
            "cd /; runuser -u postgres -- psql -qc 'SELECT 1' >/dev/null 2>&1 && echo yes || :"
        )
        eventually("it answers", lambda: service.sudo(answers) == "yes\n")
        service.check_works()
    finally:
        service.sudo(
            f"""
            systemctl stop {POSTGRESQL}
            umount {data} /mnt/small && rmdir /mnt/small
            systemctl start postgresql
            """
        )
    service.check_works()


def test_restarting_traefik_costs_a_reconnection(service: Service) -> None:
    with remembering(service) as kernel:
        service.sudo("systemctl restart traefik")
        patiently(kernel.connect)
    service.check_works()


def test_restarting_postgresql_costs_nothing(service: Service) -> None:
    hub = "systemctl show -P ExecMainStartTimestamp jupyterhub"
    before = service.sudo(hub)
    with remembering(service):
        service.sudo("systemctl restart postgresql@*")
        service.check_works()
    assert service.sudo(hub) == before


def test_without_postgresql_the_login_says_so_and_recovers(service: Service) -> None:
    visitor = service.visitor("alice")
    service.sudo("systemctl stop postgresql@*")
    try:
        page = visitor.try_to_log_in(PASSWORD)
    finally:
        service.sudo("systemctl start postgresql")
    assert "The user database does not answer" in page.text
    service.check_works()


def test_a_start_goes_on_when_postgresql_is_back(service: Service) -> None:
    """JupyterHub said that the server is ready, and led nobody there for up to five minutes."""
    alice, browser = service.person("alice"), service.visitor("alice")
    browser.log_in(PASSWORD)
    alice.stop_server()
    assert alice.request("POST", "/hub/api/users/alice/server").status_code in (201, 202)
    service.sudo(f"sleep 1; systemctl stop {POSTGRESQL}")
    page = browser.request("GET", "/hub/home")
    assert page.status_code == 503 and forms.refresh(page.text), page.text
    # whose server starts meanwhile
    service.sudo(f"sleep 10; systemctl start {POSTGRESQL}")
    began = time.monotonic()
    assert "does not answer" not in "".join(browser.arrive("user/alice/lab"))
    assert time.monotonic() - began < 60
    service.check_works()


@contextmanager
def configured(service: Service, line: str) -> Iterator[None]:
    """A Hub with a line of its owner's."""
    conf = "/etc/jupyterhub/conf.d/line.py"
    service.sudo(f"echo '{line}' >{conf}; systemctl restart jupyterhub")
    try:
        yield
    finally:
        service.sudo(f"rm {conf}; systemctl restart jupyterhub")


def test_a_class_that_starts_at_once_gets_its_servers(service: Service) -> None:
    """As `make bench`, with few people, of whom two may start at once."""
    with configured(service, "c.JupyterHub.concurrent_spawn_limit = 2"):
        arrived, waited, *_ = Bench(people=5).report(service).splitlines()
    assert arrived == "5 of 5 got a server and ran a cell"
    assert int(waited.split()[0]) >= 1, waited


@pytest.mark.every
def test_forty_people_get_their_servers_without_a_hand(service: Service) -> None:
    table = Bench().report(service)
    assert table.startswith("40 of 40 "), table


def test_where_no_more_servers_may_run_one_waits_for_the_next_that_ends(service: Service) -> None:
    service.stop_servers()
    alice, bob = service.person("alice"), service.visitor("bob")
    bob.log_in(PASSWORD)
    limited = configured(service, "c.JupyterHub.active_server_limit = 1")
    with limited, ThreadPoolExecutor(1) as at_once:
        arriving = at_once.submit(patiently, bob.arrive)
        time.sleep(10)
        assert not arriving.done()
        patiently(alice.stop_server)
        said = arriving.result()
    assert any("As many servers run at the moment as may run" in page for page in said), said
    service.sudo("hub-users remove bob --yes")


def test_restarting_docker_keeps_kernels_and_rules(service: Service) -> None:
    before = rules(service)
    with remembering(service) as kernel:
        service.sudo("systemctl restart docker")
        check_same(kernel)
        eventually("the rules are back", lambda: rules(service) == before)
        check_isolated(kernel)
    service.check_works()


def test_a_reboot_brings_everything_back(service: Service) -> None:
    alice = service.person("alice")
    alice.notebook("kept.ipynb", "print('kept')")
    browser = service.visitor("alice")
    browser.log_in(PASSWORD)
    before = rules(service)
    service.lab.reboot("service.example.org")
    # a tab that was open, and one click there
    tab = patiently(lambda: browser.land("user/alice/lab"))
    assert tab.status_code == 424, tab.text
    # the session and the token that alice had, and no run of a deploy
    assert patiently(lambda: alice.api("GET", "/user"))["name"] == "alice"
    assert alice.is_logged_in()
    assert rules(service) == before
    assert service.sudo("systemctl is-system-running --wait || true") == "running\n"
    start = re.search(r'id="start"[^>]*href="([^"]+)"', tab.text)
    assert start, tab.text
    browser.arrive(html.unescape(start[1]).removeprefix("/"))
    assert alice.cells("kept.ipynb") == ["print('kept')"]
    service.check_works()
    with alice.kernel() as kernel:
        check_isolated(kernel)
    run = service.run()
    assert (run.status, run.changed) == (0, []), run.end


@pytest.mark.parametrize(
    "loss",
    [
        "runuser -u postgres -- psql -qc 'DROP DATABASE jupyterhub WITH (FORCE)'",
        pytest.param(f"pg_dropcluster --stop {VERSION} main", marks=pytest.mark.every),
    ],
    ids=["database", "cluster"],
)
def test_a_run_mends_a_database_that_is_gone(service: Service, loss: str) -> None:
    service.person("alice").notebook("kept.ipynb", "print('kept')")
    accounts = int(service.sudo("hub-users list --json | grep -c username"))
    service.sudo(f"cd /; {loss}")
    service.forget()
    run = service.run()
    assert run.status == 0, run.end
    lost = accounts > 1 and "dropcluster" in loss
    assert ("the users table is gone" in run.output) is lost
    assert "jupyterhub | Have its tables made where the database is a new one" in run.changed
    service.check_works()
    assert service.person("alice").cells("kept.ipynb") == ["print('kept')"]
    again = service.run()
    assert (again.status, again.changed) == (0, []), again.end
