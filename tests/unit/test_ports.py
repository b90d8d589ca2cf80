"""Ports: what may listen where a role of ours shall, and what may not."""

from __future__ import annotations

from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from hubstead.operations.sites import parse_nginx_ports
from tests.unit.plans import DEBIAN_13, HUB, Plan

NGINX, APACHE, CHP = {"edge": "nginx"}, {"edge": "apache"}, {"proxy": "chp"}
LAB = NGINX | {"application": "jupyterlab"}
#: A site of the owner's, and ours, as `nginx -T` prints them
THEIRS = """\
# configuration file /etc/nginx/sites-enabled/garden:
server {{ server_name garden.example.org; listen [::]:{0} ssl; listen unix:/run/x; }} # listen 1;
"""
OURS = """\
# configuration file /etc/nginx/sites-enabled/zz-hubstead:
    listen 443 ssl;
    listen 80;
# configuration file /etc/nginx/sites-enabled/hubstead-jupyterlab:
    listen 127.0.0.1:8000 ssl;
"""
FOREIGN = {"dpkg --verify": "/etc/nginx/sites-available/garden"}
#: The package came for us
CAME = {"ls /var/lib/hubstead/packages/": "/var/lib/hubstead/packages/x"}


def host(*roles: str, bare: bool = False, **listeners: tuple[int, ...]) -> dict[str, Any]:
    """A host with the notes of some roles, on which units of the system listen."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, ports in listeners.items():
        unit = {"chp": "configurable-http-proxy", "redirect": "hubstead-redirect"}.get(name, name)
        for port in ports:
            cgroup = f"/system.slice/{unit.replace('_', '-')}.service"
            found.setdefault(str(port), []).append((name.partition("_")[0], cgroup))
    return DEBIAN_13 | {"bare": bare, "roles": list(roles), "listeners": found}


def refuses(
    plan: Plan,
    deploy: str,
    machine: dict[str, Any],
    data: dict[str, Any],
    responses: dict[str, str] | None = None,
) -> str:
    with pytest.raises(PyinfraError) as caught:
        plan(deploy, machine, data, responses)
    return str(caught.value)


ALL = ("jupyterhub", "traefik", "chp", "redirect", "nginx", "apache")


@pytest.mark.parametrize(
    ("data", "machine"),
    [
        ({}, host("jupyterhub", "traefik", traefik=(80, 443), jupyterhub=(8081,))),
        ({}, host("jupyterhub", "traefik", traefik=(10, 80, 443), hubstead_pages=(14,))),
        (CHP, host("jupyterhub", "chp", "redirect", chp=(443,), redirect=(80,))),
        (NGINX, host("jupyterhub", "traefik", "nginx", nginx=(80, 443), traefik=(8000,))),
        (APACHE, host("jupyterhub", "chp", "apache", apache2=(80, 443), chp=(8000,))),
        (LAB, host("jupyterlab", "nginx", nginx=(80, 443, 8000))),
        # from before roles were noted down
        ({}, host(traefik=(80, 443), jupyterhub=(8081,))),
    ],
)
def test_a_second_run_finds_its_own(
    plan: Plan, data: dict[str, Any], machine: dict[str, Any]
) -> None:
    assert plan(machine=machine, data=data).names


@pytest.mark.parametrize(
    ("data", "machine"),
    [
        (NGINX, host("jupyterhub", "traefik", traefik=(80, 443))),
        (NGINX, host("jupyterhub", "chp", "redirect", chp=(443,), redirect=(80,))),
        ({}, host("jupyterhub", "chp", "redirect", chp=(443,), redirect=(80,))),
        (CHP, host("jupyterhub", "traefik", traefik=(80, 443))),
        (CHP | NGINX, host("jupyterhub", "traefik", "nginx", nginx=(80, 443), traefik=(8000,))),
        (
            {"hub_api_port": 8000} | NGINX | {"proxy_port": 8001 + 1},
            host("traefik", traefik=(8000,)),
        ),
    ],
)
def test_a_switch_takes_ports_over_from_ours(
    plan: Plan, data: dict[str, Any], machine: dict[str, Any]
) -> None:
    assert plan(machine=machine, data=data).names


@pytest.mark.parametrize(("data", "server"), [(NGINX, "nginx"), (APACHE, "apache2")])
@pytest.mark.parametrize("roles", [(), ("traefik", "nginx", "apache")])
def test_the_owners_web_server_is_shared_as_the_edge(
    plan: Plan, data: dict[str, Any], server: str, roles: tuple[str, ...]
) -> None:
    theirs = host(*roles, bare=not roles, **{server: (80, 443)})
    assert plan(str(data["edge"]), theirs, data).names


@pytest.mark.parametrize(
    ("data", "listener"),
    [
        (NGINX, "nginx_blog"),
        (NGINX, "apache2"),
        (APACHE, "apache2_blog"),
        (APACHE, "nginx"),
        (NGINX, "lighttpd"),
    ],
)
@pytest.mark.parametrize("roles", [(), ("traefik", "redirect", "nginx", "apache")])
def test_another_one_of_the_owners_is_not(
    plan: Plan, data: dict[str, Any], listener: str, roles: tuple[str, ...]
) -> None:
    """A second one of the same program has another unit; roles that were noted change nothing."""
    theirs = host(*roles, bare=not roles, **{listener: (80,)})
    answers = {
        "nginx -T": THEIRS.format(80),
    } | FOREIGN
    answers |= {"apache2.conf conf-enabled": "other 80"}
    text = refuses(plan, str(data["edge"]), theirs, data, answers)
    process, unit = listener.partition("_")[0], listener.replace("_", "-")
    assert text.startswith(f"{HUB}: port 80 is taken by {process} ({unit}.service), a service that")
    assert "set `edge_http_port` to a free port" in text


@pytest.mark.parametrize(
    ("role", "data", "port", "key"),
    [
        ("traefik", {}, 80, "edge_http_port"),
        ("traefik", {}, 443, "edge_https_port"),
        ("traefik", NGINX, 8000, "proxy_port"),
        ("chp", CHP, 443, "edge_https_port"),
        ("chp", CHP | NGINX, 8000, "proxy_port"),
        ("chp", CHP, 80, "edge_http_port"),
        ("jupyterhub", {}, 8081, "hub_api_port"),
        ("jupyterlab", LAB, 8000, "proxy_port"),
    ],
)
@pytest.mark.parametrize(
    ("program", "roles"), [("nginx", ALL), ("traefik_mine", ALL), ("apache2", ALL), ("chp_1", ())]
)
def test_a_port_that_ours_needs_alone_is_refused(
    plan: Plan,
    role: str,
    data: dict[str, Any],
    port: int,
    key: str,
    program: str,
    roles: tuple[str, ...],
) -> None:
    """Also where a role with a program of that name was noted down."""
    theirs = host(*roles, bare=not roles, **{program: (port,)})
    answers = {"nginx -T": THEIRS.format(port) + OURS} | FOREIGN
    answers |= {"apache2.conf conf-enabled": f"other {port}"}
    text = refuses(plan, role, theirs, data, answers)
    assert text.startswith(f"{HUB}: port {port} is taken by {program.partition('_')[0]} (")
    assert f"set `{key}` to a free port" in text


def test_the_api_of_a_proxy_needs_its_port(plan: Plan) -> None:
    """It cannot be moved; who has the same port on another address, beside ours, goes on."""
    text = refuses(plan, "traefik", host(bare=True, blog=(10,)), {})
    assert text.endswith("port 10 is taken by blog (blog.service), a service that is not "
                         "Hubstead's. Stop it.")  # fmt: skip
    assert plan("traefik", host("traefik", traefik=(10,), blog=(10,))).names


@pytest.mark.parametrize("name", ["traefik", "chp", "redirect", "jupyterhub"])
def test_a_unit_called_like_ours_is_not_ours_on_a_bare_host(plan: Plan, name: str) -> None:
    data = CHP if name in ("chp", "redirect") else {}
    port = {"redirect": 80, "jupyterhub": 8081}.get(name, 443)
    role = {"redirect": "chp"}.get(name, name)
    refuses(plan, role, host(bare=True, **{name: (port,)}), data)


@pytest.mark.parametrize("came", [{}, CAME])
def test_an_nginx_that_stays_keeps_the_ports_of_its_sites(plan: Plan, came: dict[str, str]) -> None:
    machine = host("jupyterhub", "traefik", "nginx", nginx=(80, 443), traefik=(8000,))
    for theirs in (80, 443):
        answers = {"nginx -T": THEIRS.format(theirs) + OURS} | FOREIGN | came
        assert f"port {theirs} is taken by nginx" in refuses(plan, "all", machine, {}, answers)
    answers = {"nginx -T": THEIRS.format(8080) + OURS} | FOREIGN | came
    assert plan("all", machine, {}, answers).names


def test_an_nginx_that_stays_gets_its_own_page_back(plan: Plan) -> None:
    machine = host("jupyterhub", "traefik", "nginx", nginx=(80, 443), traefik=(8000,))
    answers = {"nginx -T": OURS, "echo disabled-by-us": "disabled-by-us"}
    assert "port 80 is taken by nginx" in refuses(plan, "all", machine, {}, answers)
    gone = {"dpkg --verify": "/etc/nginx/sites-available/hubstead"} | CAME
    assert plan("all", machine, {}, answers | gone).names


def test_an_apache_that_stays_keeps_its_ports(plan: Plan) -> None:
    machine = host("jupyterhub", "traefik", "apache", apache2=(80, 443), traefik=(8000,))
    for line in ("port 443", "other 443"):
        answers = {"apache2.conf conf-enabled": line}
        assert "port 443 is taken by apache2" in refuses(plan, "all", machine, {}, answers)
    replaced = {"apache2.conf conf-enabled": "replaced"}
    assert "port 80 is taken by apache2" in refuses(plan, "all", machine, {}, replaced)
    gone = {"dpkg --verify": "/etc/apache2/ports.conf"} | CAME
    assert plan("all", machine, {}, replaced | gone).names


def test_the_ports_of_others_are_read() -> None:
    assert parse_nginx_ports((THEIRS.format(8443) + OURS).splitlines()) == {8443}
    lines = ["# configuration file /etc/nginx/nginx.conf:", "listen 192.0.2.1;", "listen [::1];"]
    assert parse_nginx_ports(lines) == {80}
    assert parse_nginx_ports(["  # listen 81;", "listening 82;", "listen *:83 reuseport;"]) == {83}
    assert parse_nginx_ports([]) == frozenset()
