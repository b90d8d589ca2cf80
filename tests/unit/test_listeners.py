"""Listeners: one list of ports, which whoever has to know of a port reads."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from hubstead import listeners as the_list
from hubstead.certificates import internal_names
from hubstead.listeners import Listener, listeners
from hubstead.roles.certificates.expiry import endpoints
from hubstead.settings.model import SettingsError
from tests.kit.sites import HUB as NAME
from tests.kit.sites import site, sites
from tests.unit.plans import DEBIAN_13, HUB, Plan, Run

DB, EDGE = "db.example.org", "edge.example.org"
LAB: dict[str, Any] = {"application": "jupyterlab", "edge": "nginx"}


def ports(data: dict[str, Any], host: str = NAME, **tiers: str) -> dict[int, tuple[Any, ...]]:
    """Port to role, unit, and who may connect."""
    return {
        each.port: (each.role, each.unit, *each.reach)
        for each in listeners(sites(data, **tiers)[host])
    }


def test_one_host_has_everything() -> None:
    assert ports({}) == {
        80: ("traefik", "traefik.service", "everyone", "servers"),
        443: ("traefik", "traefik.service", "everyone", "servers"),
        8081: ("jupyterhub", "jupyterhub.service", "servers"),
        10: ("traefik", "traefik.service"),
        14: ("pages", "hubstead-pages.service"),
    }
    chp = "configurable-http-proxy.service"
    assert ports({"proxy": "chp", "edge": "apache", "tls": "acme"}) == {
        8: ("certbot", "certbot.service"),
        80: ("apache", "apache2.service", "everyone", "servers"),
        443: ("apache", "apache2.service", "everyone", "servers"),
        8000: ("chp", chp),
        12: ("chp", chp),
        14: ("pages", "hubstead-pages.service"),
        8081: ("jupyterhub", "jupyterhub.service", "servers"),
    }
    assert ports(LAB) == {
        80: ("nginx", "nginx.service", "everyone", "servers"),
        443: ("nginx", "nginx.service", "everyone", "servers"),
        8000: ("jupyterlab", "nginx.service"),
    }


def test_each_of_three_hosts_has_its_own() -> None:
    data = {"edge": "nginx"}
    of = {host: ports(data, host, db=DB, edge=EDGE) for host in (EDGE, NAME, DB)}
    assert set(of[EDGE]) == {80, 443}
    assert set(of[NAME]) == {10, 14, 8000, 8081}
    assert of[NAME][8000] == ("traefik", "traefik.service", "edge")
    assert of[DB] == {5432: ("postgres", "postgresql@17-main.service", "hub")}


def holders(run: Run) -> dict[int, str]:
    """Port to the unit for which an executed run wrote a holder."""
    found = {}
    for path, text in run.files.items():
        if "/hubstead-port-" in path:
            (unit,) = re.findall("^Description=Holds the port of (.*),", text, re.M)
            (targets,) = re.findall(
                "^ExecStart=/usr/local/lib/hubstead/port-holder (.*)$", text, re.M
            )
            found |= {int(each.rpartition(":")[2]): unit for each in targets.split()}
    return found


#: Ports that stay where every account can take them. Who finds somebody else there shows nothing to
#: it, since it verifies the certificate
EXCEPTIONS = {
    # the database of other hosts
    ("postgres", 5432),
    # the shared JupyterLab behind an edge: Nginx, which opens its ports as root
    ("jupyterlab", 8000),
}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"proxy": "chp"},
        {"edge": "nginx"},
        {"edge": "apache", "proxy": "chp", "proxy_port": 8004},
        {"edge": "nginx", "proxy_port": 18},
        {"edge_https_port": 8443, "edge_http_port": 8080, "hub_api_port": 9001},
        {"edge_https_port": 8443, "proxy": "chp"},
        LAB,
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_no_account_of_the_host_can_take_a_port(
    plan: Plan, data: dict[str, Any], apart: bool
) -> None:
    """In a restart of its unit: it is below 1024 (ip(7)), or something else holds it, too."""
    needs = {"edge": "nginx"} if apart and "edge" not in data else {}
    groups = {"edge": [f"@fake/{EDGE}"], "db": [f"@fake/{DB}"]} if apart else {}
    run = plan(data=data | needs, hub=[HUB], **groups)
    run.execute()
    tiers = {"edge": EDGE, "db": DB} if apart else {}
    open_to_all = {
        each.port: each
        for host in {NAME, *tiers.values()}
        for each in listeners(sites(data | needs, **tiers)[host])
        if each.port >= 1024
        and (each.role, each.port) not in EXCEPTIONS
        # with an edge this is the owner's choice
        and not (each.setting or "").startswith("edge_" if site(**data, **needs).has_edge else "-")
    }
    assert holders(run) == {port: each.unit for port, each in open_to_all.items()}


def may_connect(plan: Plan, data: dict[str, Any], **groups: list[str]) -> dict[str, list[str]]:
    """ADDRESS:PORT to the accounts of the host that its rules let connect there."""
    run = plan("firewall", data=data, **groups)
    run.execute()
    found: dict[str, list[str]] = {}
    for line in run.files["/etc/hubstead/firewall/rules.v4.new"].splitlines():
        if line.startswith("-A HUBSTEAD-OUTPUT "):
            address, port = re.findall(r"-d (\S+)/32 .*--dport (\d+) ", line)[0]
            accounts = found.setdefault(f"{address}:{port}", [])
            assert "(refused)" not in accounts
            accounts += re.findall(r"--uid-owner (\S+) -j RETURN$", line) or ["(refused)"]
    assert all(accounts.pop() == "(refused)" for accounts in found.values())
    return found


def test_where_a_visitors_address_is_believed_only_the_services_own_accounts_connect(
    plan: Plan,
) -> None:
    traefik, chp = (["root", "jupyterhub", name] for name in ("traefik", "chp"))
    assert may_connect(plan, {}) == {"172.30.0.1:8081": traefik, "127.0.0.1:10": traefik}
    assert may_connect(plan, {"proxy": "chp", "edge": "nginx"}) == {
        "127.0.0.1:8000": ["root", "www-data"],
        "172.30.0.1:8081": chp,
        "127.0.0.1:12": chp,
    }
    # from the hub host itself nobody is believed to be the edge
    apart = {"hub": [HUB], "edge": [f"@fake/{EDGE}"]}
    assert "127.0.0.1:8000" not in may_connect(plan, {"edge": "nginx"}, **apart)
    assert may_connect(plan, LAB) == {"127.0.0.1:8000": ["root", "www-data"]}


def test_a_site_of_the_owners_is_not_ours() -> None:
    """The firewall lets people in to it; its port and certificate are the owner's."""
    front = [each for each in listeners(site(edge="nginx", edge_site=False)) if not each.role]
    assert [each.port for each in front] == [80, 443]
    assert not any(each.certificate for each in front)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"edge_http_port": 443}, "`edge_https_port` and `edge_http_port` have the same port, 443"),
        ({"edge_https_port": 10}, "traefik.service and `edge_https_port` have the same port"),
        ({"edge_https_port": 8081}, "`hub_api_port` and `edge_https_port` have the same port"),
        ({"edge": "nginx", "proxy_port": 8081}, "`hub_api_port` and `proxy_port` have"),
    ],
)
def test_two_with_one_port_are_refused(plan: Plan, data: dict[str, Any], words: str) -> None:
    for role in ("all", "firewall", "tls", "expiry"):
        with pytest.raises(SettingsError, match=words) as caught:
            plan(role, data=data)
        assert "no host was touched" in str(caught.value)


def test_on_other_hosts_they_may_have_it() -> None:
    data = {"edge": "nginx", "edge_https_port": 8081}
    assert 8081 in ports(data, EDGE, edge=EDGE) and 8081 in ports(data, edge=EDGE)


def test_whoever_needs_a_port_reads_the_list(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is made up here reaches all of them."""
    real = the_list._database

    def with_another(site: Any) -> Any:
        yield from real(site)
        yield Listener(
            "traefik", 4242, "made-up.service", "made_up_port", ("everyone", "servers"),
            certificate="tls", names=("made-up.example.org",),
        )  # fmt: skip

    monkeypatch.setattr(the_list, "_database", with_another)
    run = plan()
    run.execute()
    rules = run.files["/etc/hubstead/firewall/rules.v4.new"]
    assert "-A HUBSTEAD-INPUT -p tcp -m tcp --dport 4242 -j ACCEPT" in rules
    assert "-d 172.30.0.1/32 -i hubstead0 -p tcp -m tcp --dport 4242 -j ACCEPT" in rules
    assert "made-up.example.org" in internal_names(site())
    assert "tls 127.0.0.1 4242 made-up.example.org" in endpoints(site())
    (asked,) = [line for line in run.sent.commands if "127.0.0.1:4242 made-up.service" in line][:1]
    assert "socket.create_connection" in asked
    taken = DEBIAN_13 | {"listeners": {"4242": [["blog", "/system.slice/blog.service"]]}}
    with pytest.raises(PyinfraError) as caught:
        plan(machine=taken)
    assert str(caught.value).startswith(f"{HUB}: port 4242 is taken by blog (blog.service)")
    assert "set `made_up_port` to a free port" in str(caught.value)
