"""How far people's servers are kept from the Hub and each other: the choice, and its names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hubstead import certificates, pem
from hubstead.listeners import listeners
from hubstead.roles.certificates.expiry import endpoints
from hubstead.settings.apart import KEYS
from hubstead.settings.model import SettingsError, check
from tests.kit.certificates import names_extension, sign
from tests.kit.sites import HUB, site, sites
from tests.unit.plans import TRUST, Plan

DOMAINS = {"hub_user_domains": True}
NAME = {"hub_servers_name": "servers.example.org"}
NAMED = {"hub_names": ["hub.example.org"]}


@pytest.mark.parametrize("choice", [DOMAINS, NAME, TRUST])
def test_one_choice_is_complete(choice: dict[str, Any]) -> None:
    assert check(choice) == []


def test_without_a_choice_the_three_are_named() -> None:
    (mistake,) = check({})
    for key in KEYS:
        assert f"`{key}`" in mistake
    assert "docs/apart.md" in mistake
    assert check({"hub_user_domains": False}) == [mistake]


def test_a_shared_jupyterlab_has_nothing_to_choose() -> None:
    lab = {"application": "jupyterlab", "edge": "nginx"}
    assert check(lab) == check(lab | DOMAINS) == []
    assert site(**lab, **DOMAINS).every_name == [HUB]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DOMAINS | NAME, ["`hub_user_domains` and `hub_servers_name`", "different choices"]),
        (DOMAINS | TRUST, ["`hub_user_domains` and `hub_people_trust_each_other`"]),
        (
            DOMAINS | {"tls": "acme"},
            ["`hub_user_domains`", "set `tls_acme_dns`", "`hub_servers_name`"],
        ),
        (NAME | {"hub_names": ["servers.example.org"]}, ["is one of `hub_names`"]),
        ({"hub_servers_name": "*.example.org"}, ["`hub_servers_name`", "not a host name"]),
        ({"hub_servers_name": "10.0.0.1"}, ["`hub_servers_name`", "not a host name"]),
    ],
)
def test_what_does_not_go_together_is_refused(data: dict[str, Any], words: list[str]) -> None:
    (mistake,) = check(data)
    for word in words:
        assert word in mistake


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"hub_names": ["localhost"]}, "no names below localhost"),
        ({"hub_names": ["10.0.0.1"]}, r"no names below 10\.0\.0\.1"),
        (
            {"hub_names": ["hub.example.org", "www.hub.example.org"]},
            r"www\.hub\.example\.org is the name of somebody's server",
        ),
    ],
)
def test_names_that_leave_no_room_for_people_are_refused(
    plan: Plan, data: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        plan("jupyterhub", data=DOMAINS | data)


def test_the_hub_itself_is_no_place_for_servers(plan: Plan) -> None:
    """A name that comes from the inventory is known to no setting."""
    with pytest.raises(SettingsError, match="the name of the service itself"):
        plan("jupyterhub", data={"hub_servers_name": "localhost"})


@pytest.mark.parametrize(
    ("choice", "servers"), [(DOMAINS, [f"*.{HUB}"]), (NAME, ["servers.example.org"]), (TRUST, [])]
)
def test_one_list_has_the_names(choice: dict[str, Any], servers: list[str]) -> None:
    one = site(**choice)
    assert one.every_name == [HUB, *servers]
    assert certificates.internal_names(one) == [HUB, *servers]
    (https,) = [each for each in listeners(one) if each.certificate]
    assert list(https.names) == one.every_name
    asked = [line.rpartition(" ")[2] for line in endpoints(one)]
    assert asked == [HUB, *(name.replace("*", "any") for name in servers)]


def test_the_edge_has_them_and_the_hub_its_own() -> None:
    of = sites({"edge": "nginx", **DOMAINS}, edge="edge.example.org")
    edge = of["edge.example.org"]
    assert certificates.internal_names(edge) == ["edge.example.org", "*.edge.example.org"]
    assert certificates.internal_names(of[HUB]) == [HUB]


def test_the_root_that_people_trust_stays() -> None:
    """It may vouch for what lies below the service's name already (RFC 5280, 4.2.1.10)."""
    assert certificates.permitted(site(**DOMAINS)) == certificates.permitted(site(**TRUST))
    assert "servers.example.org" in certificates.permitted(site(**NAME))


def test_a_certificate_of_the_owners_has_to_cover_them() -> None:
    narrow, wide = (
        pem.chain(sign("An organisation", None, names_extension(names)).pem)
        for names in ([HUB], [HUB, f"*.{HUB}"])
    )
    names = site(**DOMAINS).every_name
    assert narrow.missing(names) == [f"*.{HUB}"]
    assert wide.missing(names) == []


@pytest.mark.parametrize("edge", ["nginx", "apache"])
@pytest.mark.parametrize(
    ("choice", "name"), [(DOMAINS, "*.hub.example.org"), (NAME, "servers.example.org")]
)
def test_an_edge_answers_to_them(plan: Plan, edge: str, choice: dict[str, Any], name: str) -> None:
    written = plan(edge, data={"edge": edge, **NAMED, **choice}).text()
    names = {
        "nginx": f"server_name hub.example.org {name};",
        "apache": f"ServerAlias {name}\n",
    }
    assert written.count(names[edge]) == 2


@pytest.mark.parametrize(("choice", "routes"), [(DOMAINS, True), (NAME, True), (TRUST, False)])
def test_chp_routes_by_name_where_there_are_several(
    plan: Plan, choice: dict[str, Any], routes: bool
) -> None:
    run = plan("chp", data={"proxy": "chp", **NAMED, **choice})
    run.execute()
    configuration = json.loads(run.files["/etc/hubstead/chp/config.json"])
    assert configuration["host_routing"] is routes


@pytest.mark.parametrize(("choice", "warned"), [(DOMAINS, False), (NAME, False), (TRUST, True)])
def test_each_run_warns_of_one_name(
    plan: Plan, caplog: pytest.LogCaptureFixture, choice: dict[str, Any], warned: bool
) -> None:
    plan("jupyterhub", data={**NAMED, **choice})
    assert ("opens a link to somebody's server" in caplog.text) is warned
