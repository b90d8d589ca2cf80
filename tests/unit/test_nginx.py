"""The edge Nginx: what is written for which settings, and what of a server's sites is whose."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from hubstead.operations.sites import _LOOK, DefaultSite, DefaultSiteState
from tests.unit.plans import DEBIAN_12, DEBIAN_13, HUB, Plan

NGINX: dict[str, Any] = {"edge": "nginx"}


def test_debian_13_has_http2_as_a_directive(plan: Plan) -> None:
    text = plan("nginx", DEBIAN_13, NGINX).text()
    assert "listen 443 ssl;\nlisten [::]:443 ssl;\nhttp2 on;\n" in text


def test_debian_12_has_http2_as_a_word_of_listen(plan: Plan) -> None:
    text = plan("nginx", DEBIAN_12, NGINX).text()
    assert "listen 443 ssl http2;\nlisten [::]:443 ssl http2;\n" in text
    assert "http2 on" not in text


def test_it_claims_no_default_of_a_port(plan: Plan) -> None:
    assert "default_server" not in plan("nginx", data=NGINX).text()


def test_the_redirect_names_another_port_than_443(plan: Plan) -> None:
    text = plan("nginx", data=NGINX | {"edge_https_port": 8443, "hub_names": ["a.b", "c"]}).text()
    assert "return 301 https://$host:8443$request_uri;" in text
    assert text.count("server_name a.b c;") == 2


def test_the_proxy_is_verified_where_it_is(plan: Plan) -> None:
    text = plan("nginx", data=NGINX).text()
    assert "server 127.0.0.1:8000 max_fails=0;" in text
    assert "proxy_ssl_name localhost;" in text and "/etc/hubstead/tls/ca.pem;" in text
    assert "proxy_ssl_verify on;" in text


def test_on_a_host_of_its_own_it_knows_the_hubs_authority(plan: Plan) -> None:
    data = NGINX | {"base_address": "10.0.0.5", "hub_names": ["hub.example.org"]}
    text = plan("nginx", data=data, hub=[HUB], edge=["@fake/edge.example.org"]).text()
    assert "server 10.0.0.5:8000 max_fails=0;" in text and "proxy_ssl_name 10.0.0.5;" in text
    assert "proxy_ssl_trusted_certificate /etc/hubstead/trust/hub.example.org.pem;" in text


@pytest.mark.parametrize("limit", [0, 40])
def test_the_limit_of_uploads_is_a_setting(plan: Plan, limit: int) -> None:
    text = plan("nginx", data=NGINX | {"edge_upload_limit": limit}).text()
    assert f"client_max_body_size {limit}m;" in text


def test_stapling_asks_the_hosts_own_resolvers(plan: Plan) -> None:
    data = NGINX | {"edge_ocsp": True}
    with pytest.raises(PyinfraError, match="`edge_ocsp` needs a DNS server"):
        plan("nginx", data=data)
    answers = {"resolv.conf": "nameserver 192.0.2.53\n"}
    text = plan("nginx", data=data, responses=answers).text()
    assert "ssl_stapling on;" in text and "resolver 192.0.2.53;" in text


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory as the package leaves it, and a dpkg-query that knows its site."""
    for directory in ("sites-available", "sites-enabled", "html", "share", "bin"):
        (tmp_path / directory).mkdir()
    (tmp_path / "sites-available/default").write_text("server {}\n")
    (tmp_path / "sites-enabled/default").symlink_to(tmp_path / "sites-available/default")
    for path in ("html/index.nginx-debian.html", "share/index.html"):
        (tmp_path / path).write_text("Welcome\n")
    known = subprocess.check_output(["md5sum", tmp_path / "sites-available/default"], text=True)
    query = tmp_path / "bin/dpkg-query"
    query.write_text(f"#!/bin/sh\necho ' {tmp_path}/sites-available/default {known.split()[0]}'\n")
    query.chmod(0o755)
    return tmp_path


def default_site(root: Path) -> DefaultSiteState:
    look = _LOOK.replace("/var/www/html", f"{root}/html")
    look = look.replace("/usr/share/nginx/html", f"{root}/share")
    site, link, note = (f"{root}/{path}" for path in ("sites-available/default",
                        "sites-enabled/default", "note"))  # fmt: skip
    output = subprocess.run(
        ["sh", "-c", look, "sh", "nginx-common", site, link, note],
        env={"PATH": f"{root}/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return DefaultSite().process(output.splitlines())


def test_a_default_site_is_pristine_as_long_as_nobody_used_it(root: Path) -> None:
    assert default_site(root) == DefaultSiteState(pristine=True, enabled=True)
    for path in ("html/a page.html", "html/.well-known", "html/index.html"):
        (root / path).write_text("Mine\n")
        assert not default_site(root).pristine, path
        (root / path).unlink()
    (root / "html/index.nginx-debian.html").write_text("Mine\n")
    assert not default_site(root).pristine


def test_an_edited_or_replaced_default_site_is_not_pristine(root: Path) -> None:
    site, link = root / "sites-available/default", root / "sites-enabled/default"
    site.write_text("server { listen 80; }\n")
    assert default_site(root) == DefaultSiteState(enabled=True)
    site.write_text("server {}\n")
    link.unlink()
    (root / "other").write_text("server {}\n")
    link.symlink_to(root / "other")
    assert not default_site(root).pristine
    link.unlink()
    assert default_site(root) == DefaultSiteState()
    (root / "note").symlink_to(site)
    assert default_site(root) == DefaultSiteState(disabled_by_us=True)
