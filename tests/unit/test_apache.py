"""The edge Apache: what is written for which settings, and what changes of the owner's Apache."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from hubstead.operations import apache
from hubstead.operations.apache import NOTES, PORTS, Apache, ApacheState, parse_apache
from hubstead.operations.files import File, Paths, PathState
from tests.unit.operations.support import commands, lines
from tests.unit.plans import HUB, Plan

APACHE: dict[str, Any] = {"edge": "apache"}
PRISTINE = ApacheState(frozenset({PORTS}), frozenset({80, 443}))
EDITED = ApacheState(frozenset(), frozenset({80, 8088}))
OURS = ApacheState(frozenset(), frozenset(), replaced=True)
LISTEN = "/etc/apache2/conf-available/zz-hubstead-ports.conf"
KEEP = (
    f"mkdir -p {NOTES} && cp -p {PORTS} {NOTES}/ports.conf.new"
    f" && mv {NOTES}/ports.conf.new {NOTES}/ports.conf"
)
RESTORE = f"mv {NOTES}/ports.conf {PORTS}"


def test_the_proxy_is_verified_where_it_is(plan: Plan) -> None:
    text = plan("apache", data=APACHE).text()
    assert '<Proxy "https://127.0.0.1:8000/">' in text
    assert 'ProxyPass "https://127.0.0.1:8000/" nocanon upgrade=websocket retry=0 ' in text
    assert "SSLProxyCACertificateFile /etc/hubstead/tls/ca.pem" in text
    assert "SSLProxyVerify require" in text


def test_on_a_host_of_its_own_it_knows_the_hubs_authority(plan: Plan) -> None:
    data = APACHE | {"base_address": "10.0.0.5", "hub_names": ["hub.example.org"]}
    text = plan("apache", data=data, hub=[HUB], edge=["@fake/edge.example.org"]).text()
    assert 'ProxyPass "https://10.0.0.5:8000/"' in text
    assert "SSLProxyCACertificateFile /etc/hubstead/trust/hub.example.org.pem" in text


def test_below_a_path_the_rest_leads_there_or_nowhere(plan: Plan) -> None:
    text = plan("apache", data=APACHE | {"hub_base_url": "/jupyter/"}).text()
    assert '<Location "/jupyter/">' in text
    assert 'RedirectMatch 302 "^/$" "/jupyter/"' in text
    assert 'RedirectMatch 302 "^/jupyter$" "/jupyter/"' in text
    assert r'RedirectMatch 404 "^/(?!jupyter(?:/|$))."' in text
    assert "RedirectMatch 302" not in plan("apache", data=APACHE).text()
    text = plan("apache", data=APACHE | {"hub_base_url": "/jupyter.v2/"}).text()
    assert r'RedirectMatch 302 "^/jupyter\.v2$" "/jupyter.v2/"' in text
    assert r'RedirectMatch 404 "^/(?!jupyter\.v2(?:/|$))."' in text


def test_the_site_has_the_names_and_ports_of_the_settings(plan: Plan) -> None:
    data = {"edge_https_port": 8443, "edge_http_port": 8080, "hub_names": ["a.b", "c.d", "e.f"]}
    text = plan("apache", data=APACHE | data).text()
    assert text.count("    ServerName a.b\n    ServerAlias c.d e.f\n") == 2
    assert '"https://%{SERVER_NAME}:8443%1" [R=301,NE,L]' in text
    assert text.count("<VirtualHost *:8080>") == text.count("<VirtualHost *:8443>") == 2


def test_the_limit_of_uploads_is_a_setting(plan: Plan) -> None:
    text = plan("apache", data=APACHE | {"edge_upload_limit": 40}).text()
    assert '<If "%{HTTP:Content-Length} -gt 41943040">' in text
    text = plan("apache", data=APACHE | {"edge_upload_limit": 0}).text()
    assert "LimitRequestBody 0\n" in text and '<If "' not in text


def test_stapling_is_a_setting(plan: Plan) -> None:
    assert "SSLUseStapling On" in plan("apache", data=APACHE | {"edge_ocsp": True}).text()
    assert "Stapling" not in plan("apache", data=APACHE).text()


def test_what_is_configured_is_read() -> None:
    text = f"pristine {PORTS}\nport 80\nport 443\nother 8088\nreplaced\nmodule ssl\nbefore \n"
    assert parse_apache(text.splitlines()) == ApacheState(
        frozenset({PORTS}), frozenset({80, 443}), frozenset({8088}), True, frozenset({"ssl"}),
        frozenset(),
    )  # fmt: skip
    assert parse_apache(["module ssl", "before mime", "before "]).modules_before == {"mime"}
    assert parse_apache([]) == ApacheState()


@pytest.mark.parametrize(
    ("state", "ports", "begins", "listens"),
    [
        (PRISTINE, [80, 443], [], []),
        (PRISTINE, [8080, 443], [KEEP, PORTS], ["Listen 8080", "Listen 443"]),
        (EDITED, [80, 443], [], ["Listen 443"]),
        (EDITED, [8088, 8443], [], ["Listen 8443"]),
        (OURS, [8080, 443], [PORTS], ["Listen 8080", "Listen 443"]),
        (OURS, [80, 443], [RESTORE], []),
    ],
)
def test_ports_are_named_once_and_edited_files_stay(
    state: ApacheState, ports: list[int], begins: list[str], listens: list[str]
) -> None:
    """Apache refuses to start where a port has two Listen."""
    run = commands(apache.listening, {Apache: state, Paths: {}}, ports=ports)
    sent = [base64.b64decode(c.stdin).decode() if c.stdin else "" for c in run]
    found = [line for text in sent for line in text.splitlines() if line.startswith("Listen")]
    assert found == listens
    for command, begin in zip(run, begins, strict=False):
        assert begin in command.line
    assert any(LISTEN in command.line for command in run) == bool(listens)


def test_only_modules_that_came_for_us_go() -> None:
    enable = {"modules": ["ssl", "mime"]}
    fresh = ApacheState(modules=frozenset({"mime"}))
    note, switch = lines(apache.modules_enabled, {Apache: fresh}, **enable)
    assert note.endswith(f"mv {NOTES}/modules.new {NOTES}/modules")
    assert switch == "a2enmod --quiet ssl"
    noted = ApacheState(modules=frozenset({"mime", "ssl"}), modules_before=frozenset({"mime"}))
    assert lines(apache.modules_enabled, {Apache: noted}, **enable) == []
    disable, forget = lines(apache.modules_restored, {Apache: noted}, modules=["ssl", "mime"])
    assert disable.endswith(" sh ssl")
    assert forget == f"rm {NOTES}/modules"
    assert lines(apache.modules_restored, {Apache: ApacheState()}, modules=["ssl"]) == []


def test_a_module_is_noted_before_the_first_one_only() -> None:
    """A run that was cut between two modules must not take its own for the owner's."""
    cut = ApacheState(modules=frozenset({"ssl"}), modules_before=frozenset())
    assert lines(apache.modules_enabled, {Apache: cut}, modules=["ssl", "http2"]) == [
        "a2enmod --quiet http2"
    ]


def test_the_packages_settings_are_overridden_where_nobody_edited_them() -> None:
    ours = {"conffile": PORTS, "file": "zz-x.conf", "text": "X\n"}
    write, link = lines(apache.overridden, {Apache: PRISTINE, Paths: {}}, **ours)
    assert "/etc/apache2/conf-available/zz-x.conf" in write
    assert link.endswith("mv -fT /etc/apache2/conf-enabled/zz-x.conf.new"
                         " /etc/apache2/conf-enabled/zz-x.conf")  # fmt: skip
    there: dict[str, PathState] = {"/etc/apache2/conf-available/zz-x.conf": File("X\n").as_state()}
    assert lines(apache.overridden, {Apache: EDITED, Paths: there}, **ours) == [
        "rm -rf -- /etc/apache2/conf-available/zz-x.conf"
    ]
