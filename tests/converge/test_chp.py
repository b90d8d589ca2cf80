"""configurable-http-proxy as the front: what Traefik does by itself and CHP does by our doing."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest

from tests.faults.test_docker import check_a_start_is_offered
from tests.kit.hub_client import HubClient, Kernel, patiently
from tests.kit.service import PASSWORD, Deployed, Service
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

UNIT = "configurable-http-proxy"
CURL = "curl -s --noproxy '*' --max-time 20 -o /dev/null -w '%{http_code} %{redirect_url}'"

LEFTOVERS = r"""
find /etc /opt/hubstead /usr/local /var \
    \( -path /var/lib/docker -o -path /var/cache/apt \) -prune -o \
    \( -name chp -o -name 'configurable-http-proxy*' -o -name '*lighttpd*' \) -print
getent passwd chp || true
"""


@pytest.fixture(scope="module")
def service(deployed: Deployed) -> Service:
    service = deployed.alone("proxy=chp")
    switched = service.run()
    assert switched.status == 0, switched.end
    return service


def check_same(kernel: Kernel) -> None:
    assert kernel.run("print(memory)") == "kept\n"


def served(service: Service) -> dict[str, Any]:
    """The certificate that a visitor is shown."""
    with socket.create_connection((service.address, 443), timeout=10) as plain:
        wrapped = service.site.tls().wrap_socket(plain, server_hostname=service.name)
        with wrapped:
            certificate = wrapped.getpeercert()
    assert certificate
    return certificate


def test_the_api_is_private_and_wants_its_token(service: Service) -> None:
    url = "http://127.0.0.1:12/api/routes"
    wrong = "-H 'Authorization: token 0123'"
    assert service.sudo(f"{CURL} {url}; {CURL} {wrong} {url}").split() == ["403", "403"]
    header = 'printf "Authorization: token %s" "$(cat /etc/hubstead/chp/token)"'
    assert service.sudo(f"{header} | {CURL} -H @- {url}").split() == ["200"]
    listening = service.sudo("ss -Hltn sport = :12").split()
    assert "127.0.0.1:12" in listening and "0.0.0.0:12" not in listening
    token = service.sudo("cat /etc/hubstead/chp/token").strip()
    pid = f"/proc/$(systemctl show -P MainPID {UNIT})"
    assert token not in service.sudo(f"cat {pid}/environ {pid}/cmdline")


@pytest.mark.parametrize("command", ["restart", "kill --signal=KILL"])
def test_a_restart_costs_a_reconnection(service: Service, command: str) -> None:
    """With the Hub or without it: the proxy knows the routes by itself."""
    with service.person("alice").kernel() as kernel:
        kernel.run("memory = 'kept'")
        service.sudo("systemctl stop jupyterhub")
        try:
            service.sudo(f"systemctl {command} {UNIT}")
            patiently(kernel.connect, seconds=10)
            check_same(kernel)
        finally:
            service.sudo("systemctl start jupyterhub")
        check_same(kernel)
    service.check_works()


def test_a_renewed_certificate_costs_nothing(service: Service) -> None:
    started = f"systemctl show -P ExecMainStartTimestampMonotonic {UNIT}"
    old, before = served(service), service.sudo(started)
    with service.person("alice").kernel() as kernel:
        kernel.run("memory = 'kept'")
        # as the timer does, once it is time
        service.sudo("rm /etc/hubstead/tls/issued-for; systemctl start hubstead-certificate")
        eventually("the new certificate", lambda: served(service) != old, 10)
        check_same(kernel)
    assert service.sudo(started) == before


def test_nobody_chooses_the_address_that_a_login_comes_from(service: Service) -> None:
    """What a visitor says about it is dropped: the limit on guesses holds."""
    visitor = HubClient(service.site, "someone")
    answers = []
    for number in range(11):
        address = f"203.0.113.{number}"
        visitor.http.headers.update(
            {
                "X-Forwarded-For": address,
                "X-Real-IP": address,
                "Forwarded": f"for={address}",
                "X_Forwarded_For": address,
            }
        )
        answers.append(visitor.try_to_log_in("wrong").status_code)
    assert answers == [403] * 10 + [429]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_what_leaves_the_front_is_safe(service: Service) -> None:
    """The Hub's pages, the proxy's own, and files."""
    visitor = HubClient(service.site, "someone")
    for path in ("/hub/login", "/hub/static/css/style.min.css", "/hub/none", "/"):
        headers = visitor.request("GET", path).headers
        assert headers["strict-transport-security"] == "max-age=31536000"
        assert headers["x-content-type-options"] == "nosniff"
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        old = ssl.create_default_context(cafile=str(service.site.ca))
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = version
        with (
            pytest.raises(ssl.SSLError),
            socket.create_connection((service.address, 443), timeout=10) as plain,
        ):
            old.wrap_socket(plain, server_hostname=service.name)


def test_http_leads_to_https_as_it_came(service: Service) -> None:
    for asked in ("/", "/user/a%2Fb/x%20y?z=%2F&next=/hub/", "/.well-known/other"):
        answer = service.sudo(f"{CURL} --path-as-is 'http://{service.address}{asked}'")
        assert answer == f"308 https://{service.address}{asked}"
    for odd in ("-H Host:", "-H 'Host: a/b'", "-X OPTIONS --request-target '*'"):
        assert service.sudo(f"{CURL} {odd} http://{service.address}/").strip() == "400"
    absolute = f"--request-target http://{service.name}/a%2Fb"
    answer = service.sudo(f"{CURL} {absolute} http://{service.address}")
    assert answer == f"308 https://{service.address}/a%2Fb"


def test_a_container_that_is_removed_leads_to_a_start(service: Service) -> None:
    check_a_start_is_offered(service)


def test_odd_names_and_paths_pass(service: Service) -> None:
    odd = service.visitor("o.d-d_1@example.org")
    odd.log_in(PASSWORD)
    odd.take_token()
    odd.start_server()
    odd.server("PUT", "/contents/a folder", json={"type": "directory"})
    odd.notebook("a%20folder%2F100%25.ipynb", "print('kept')")
    assert odd.cells("a folder/100%25.ipynb") == ["print('kept')"]
    odd.stop_server()


@pytest.mark.every
def test_switching_the_proxy_keeps_servers_and_leaves_nothing(service: Service) -> None:
    with service.person("alice").kernel() as kernel:
        # with the route to her server, whoever removed that before
        before = service.manifest()
        kernel.run("memory = 'kept'")
        run = service.run("--data", "proxy=traefik", "deploys/all.py")
        assert run.status == 0, run.end
        patiently(kernel.connect)
        check_same(kernel)
        assert service.sudo(LEFTOVERS) == ""
        running = service.sudo("systemctl list-units --all --no-legend; ss -Hltnp")
        assert UNIT not in running and "lighttpd" not in running and "127.0.0.1:12 " not in running

        run = service.run()
        assert run.status == 0, run.end
        patiently(kernel.connect)
        check_same(kernel)
    assert service.manifest() == before
    run = service.run()
    assert (run.status, run.changed) == (0, []), run.end
