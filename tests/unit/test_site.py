"""Site: what tiers and settings mean for each host of an inventory."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from pyinfra.context import ctx_host, ctx_inventory

from hubstead.settings.edge import EdgeSettings
from hubstead.site import Member, TopologyError, clock_ahead, here, room
from tests.kit.sites import HUB, site, sites
from tests.unit.plans import Plan

DB, EDGE = "db.example.org", "edge.example.org"


def test_absent_tiers_live_on_the_hub_host() -> None:
    one = site()
    assert (one.db, one.edge) == (one.hub, one.hub)
    assert all(one.plays(tier) for tier in ("db", "hub", "edge"))
    assert (one.front, one.names, one.url) == ("traefik", [HUB], f"https://{HUB}")
    assert one.edge_networks == []


def test_each_host_knows_what_it_plays() -> None:
    of = sites({"edge": "nginx", "edge_https_port": 8443}, db=DB, edge=EDGE)
    assert [of[name].plays("hub") for name in (HUB, DB, EDGE)] == [True, False, False]
    assert [of[name].serves("jupyterhub") for name in (HUB, DB, EDGE)] == [True, False, False]
    assert {each.url for each in of.values()} == {f"https://{EDGE}:8443"}
    assert {each.front for each in of.values()} == {"nginx"}
    assert [other.name for other in of[DB].others] == [HUB, EDGE]


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("hub.example.org", "hub.example.org:8000"),
        ("192.0.2.4", "192.0.2.4:8000"),
        ("2001:db8::4", "[2001:db8::4]:8000"),
    ],
)
def test_the_proxy_is_found_by_name_and_address(address: str, endpoint: str) -> None:
    apart = sites({"edge": "nginx"}, edge=EDGE)[EDGE]
    hub = Member(HUB, address, apart.hub.host)
    assert replace(apart, hub=hub).proxy_endpoint == endpoint
    assert replace(apart, hub=hub).proxy_address == address
    together = site(edge="nginx")
    assert (together.proxy_endpoint, together.proxy_address) == ("127.0.0.1:8000", "localhost")


def test_nobody_changes_it() -> None:
    one: Any = site()
    with pytest.raises(FrozenInstanceError):
        one.hub = None
    with pytest.raises(Exception, match="frozen"):
        one[EdgeSettings].edge = "nginx"


def test_it_is_worked_out_once(plan: Plan) -> None:
    run = plan("base", edge=[f"@fake/{EDGE}"], hub=[f"@fake/{HUB}"], data={"edge": "nginx"})
    with ctx_inventory.use(run.state.inventory):
        for host in run.state.inventory:
            with ctx_host.use(host):
                assert here() is here()
                assert here().here.name == host.name


@pytest.mark.parametrize("groups", [{}, {"hub": [f"@fake/{HUB}", f"@fake/{DB}"]}])
def test_a_service_has_one_hub(plan: Plan, groups: dict[str, list[str]]) -> None:
    tiers = groups or {"db": [f"@fake/{DB}"]}
    with pytest.raises(TopologyError, match="exactly one host in the group `hub`"):
        plan("base", **tiers)


@pytest.mark.parametrize(
    ("clock", "ahead"),
    [(None, 0), (1000, 0), (1030, 0), (1329, 0), (701, 0), (1331, 301), (699, -301), (4630, 3600)],
)
def test_clocks_differ_by_more_than_what_a_question_takes(clock: float | None, ahead: int) -> None:
    assert clock_ahead(clock, asked=1000, answered=1030) == ahead


def test_each_host_needs_room_for_what_comes_there() -> None:
    of = sites({"edge": "nginx", "hub_files": "/data/files"}, db=DB, edge=EDGE)
    assert {"/var/lib/docker", "/opt/hubstead", "/data/files"} <= room(of[HUB]).keys()
    assert "/var/lib/postgresql" in room(of[DB]).keys() - room(of[HUB]).keys()
    assert not room(of[EDGE]).keys() - room(of[HUB]).keys()
    assert "/var/lib/docker" not in room(site(application="jupyterlab", edge="nginx"))
