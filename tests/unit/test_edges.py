"""What holds of each edge: when it comes, what it leaves to the owner, and when it goes."""

from __future__ import annotations

import re

import pytest

from tests.unit.plans import DEBIAN_13, Plan

pytestmark = pytest.mark.parametrize(("edge", "title"), [("nginx", "Nginx"), ("apache", "Apache")])


def test_it_comes_behind_the_hub_and_before_the_checks(plan: Plan, edge: str, title: str) -> None:
    names = plan(data={"edge": edge}).names
    order = ["jupyterhub | Run JupyterHub", f"{edge} | Test {title}'s configuration"]
    order += [f"{edge} | Run {title}", "verify | Ask for the login page over HTTPS"]
    assert [name for name in names if name in order] == order


def test_without_a_site_there_are_no_ports_and_no_certificate(
    plan: Plan, edge: str, title: str
) -> None:
    taken = DEBIAN_13 | {"listeners": {"80": [["haproxy", "/system.slice/haproxy.service"]]}}
    text = plan(edge, taken, {"edge": edge, "edge_site": False, "hub_base_url": "/j/"}).text()
    assert {"nginx": "location /j/ {", "apache": '<Location "/j/">'}[edge] in text
    for word in ("listen", "ssl_?Certificate(File)?", "server_?Name", "<VirtualHost"):
        assert not re.search(rf"^\s*{word} ", text, re.MULTILINE | re.IGNORECASE), word


def test_another_setting_removes_it_where_it_is(plan: Plan, edge: str, title: str) -> None:
    deployed = DEBIAN_13 | {"roles": [edge, "traefik"], "bare": False}
    names = plan(machine=deployed).names
    gone = f"retire | {edge} | Remove {title}"
    assert names.index(gone) < names.index("traefik | Run Traefik")
    assert f"{edge} | Run {title}" not in names
    assert gone not in plan(machine=DEBIAN_13).names
