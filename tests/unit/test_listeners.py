"""Listeners: one list of ports, which whoever has to know of a port reads."""

from __future__ import annotations

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
from tests.unit.plans import DEBIAN_13, HUB, Plan

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
        8099: ("traefik", "traefik.service"),
    }
    chp = "configurable-http-proxy.service"
    assert ports({"proxy": "chp", "edge": "apache", "tls": "acme"}) == {
        8: ("certbot", "certbot.service"),
        80: ("apache", "apache2.service", "everyone", "servers"),
        443: ("apache", "apache2.service", "everyone", "servers"),
        8000: ("chp", chp),
        8001: ("chp", chp),
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
    assert set(of[NAME]) == {8000, 8081, 8099}
    assert of[NAME][8000] == ("traefik", "traefik.service", "edge")
    assert of[DB] == {5432: ("postgres", "postgresql@17-main.service", "hub")}


def test_a_site_of_the_owners_is_not_ours() -> None:
    """The firewall lets people in to it; its port and certificate are the owner's."""
    front = [each for each in listeners(site(edge="nginx", edge_site=False)) if not each.role]
    assert [each.port for each in front] == [80, 443]
    assert not any(each.certificate for each in front)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"edge_http_port": 443}, "`edge_https_port` and `edge_http_port` have the same port, 443"),
        ({"edge_https_port": 8099}, "traefik.service and `edge_https_port` have the same port"),
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
