"""Parts of the service are stopped, restarted and rebooted under people who work with it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kit.hub_client import Kernel, patiently
from tests.kit.network import reach
from tests.kit.service import PASSWORD, Service
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

GATEWAY = "172.30.0.1"


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


def test_a_hub_that_is_killed_comes_back_by_itself(service: Service) -> None:
    with remembering(service):
        service.sudo("systemctl kill --signal=KILL jupyterhub")
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
    before = rules(service)
    service.lab.reboot("service.example.org")
    # the session and the token that alice had, and no run of a deploy
    assert patiently(lambda: alice.api("GET", "/user"))["name"] == "alice"
    assert alice.is_logged_in()
    assert rules(service) == before
    assert service.sudo("systemctl is-system-running --wait || true") == "running\n"
    service.check_works()
    assert alice.cells("kept.ipynb") == ["print('kept')"]
    with alice.kernel() as kernel:
        check_isolated(kernel)
    run = service.run()
    assert (run.status, run.changed) == (0, []), run.end
