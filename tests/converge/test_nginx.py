"""Nginx beside someone's own sites, and what it does by our doing; the proxy is a stand-in."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.kit.owner import CURL, STATUS, Owned
from tests.kit.support import PROJECT, Run

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/nginx_owner.py"
NAME = "garden.example.org"
HTTPS = f"https://{NAME}/jupyter/"
DOWN = "JupyterHub does not answer at the moment. Try again in a minute.\n"

# Their own sites: the default one of port 80, and one with a certificate of its own on 443.
_OWNER = """
export DEBIAN_FRONTEND=noninteractive
apt-get install -qy --no-install-recommends nginx >/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=shop.example.org -addext \
    subjectAltName=DNS:shop.example.org -keyout /root/shop.key -out /root/shop.crt 2>/dev/null
cat >/etc/nginx/sites-available/shop <<END
server {
    listen 80 default_server;
    listen 443 ssl;
    ssl_certificate /root/shop.crt;
    ssl_certificate_key /root/shop.key;
    server_name shop.example.org;
    location = / { return 200 "Fine goods\\n"; }
}
END
ln -s ../sites-available/shop /etc/nginx/sites-enabled/shop
rm /etc/nginx/sites-enabled/default
nginx -t -q && systemctl restart nginx
"""
_CONFIGURATION = """
find /etc/nginx /etc/systemd /usr/local /var/lib/hubstead /var/www -path '*/hubstead/roles' -prune \
    -o -printf '%p %M %u %l\\n' | sort
find /etc/nginx /var/www -type f -exec md5sum {} + | sort
"""


class Host(Owned):
    """The host, and its owner's Nginx before we came."""

    def nginx(self, *data: str) -> Run:
        """Deploy Nginx alone."""
        return self.role("nginx", *data)

    def master(self) -> str:
        """The process of Nginx that lives until a restart."""
        return self.sudo("systemctl show -p MainPID -p ExecMainStartTimestamp nginx")


@pytest.fixture(scope="module")
def bare(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host without Nginx, with a certificate and what stands in for the proxy."""
    host = Host(lab, tmp_path_factory.mktemp("nginx"), INVENTORY, NAME)
    run = host.run("deploys/base.py", "deploys/tls.py")
    assert run.status == 0, run.end
    host.begin("/etc/hubstead/tls")
    yield host


@pytest.fixture(scope="module")
def before(bare: Host) -> str:
    """The configuration of the owner's Nginx."""
    bare.sudo(_OWNER)
    return bare.sudo(_CONFIGURATION)


@pytest.fixture(scope="module")
def host(bare: Host, before: str) -> Host:
    """A host with the owner's Nginx, and the service beside; their Nginx was not restarted."""
    master = bare.master()
    first = bare.nginx()
    assert first.status == 0, first.end
    again = bare.nginx()
    assert (again.status, again.changed) == (0, []), again.end
    assert bare.master() == master
    return bare


def check_shop(host: Host) -> None:
    """Their sites answer, also for names that nobody has."""
    for words in ("http://shop.example.org/", "http://192.0.2.7/", "-k https://shop.example.org/"):
        assert host.sudo(f"{CURL} {words}") == "Fine goods\n"
    served = "openssl s_client -connect 127.0.0.1:443 -servername shop.example.org </dev/null"
    assert "CN = shop.example.org" in host.sudo(f"{served} 2>&1").replace("CN=", "CN = ")


def check_service(host: Host) -> None:
    assert host.answer()["path"] == "/jupyter/"


def echo(websocket: ssl.SSLSocket, text: bytes) -> bytes:
    websocket.sendall(text)
    return websocket.recv(4096)


def test_the_service_lives_beside_the_owners_sites(host: Host) -> None:
    check_shop(host)
    check_service(host)
    urls = (
        f"http://{NAME}/jupyter/a%2Fb?c=%20d https://{NAME}/ https://{NAME}/jupyter {HTTPS[:-1]}x"
    )
    assert host.sudo(f"for url in {urls}; do {STATUS} $url; done").splitlines() == [
        f"301 https://{NAME}/jupyter/a%2Fb?c=%20d",
        f"302 {HTTPS}",
        f"301 {HTTPS}",
        "404 ",
    ]


def test_the_proxy_learns_the_visitor_and_not_what_he_says(host: Host) -> None:
    lies = "".join(
        f" -H '{name}: 203.0.113.9'"
        for name in ("X-Forwarded-For", "X_Forwarded_For", "X-Real-IP", "X-Forwarded-Host",
                     "X-Forwarded-Proto", "X-Forwarded-Port", "X-Scheme", "Forwarded")
    )  # fmt: skip
    told = host.answer(f"{lies} '{HTTPS}a%2Fb//%C3%A9?q=%2F'")
    headers = told["headers"]
    assert told["path"] == "/jupyter/a%2Fb//%C3%A9?q=%2F"
    assert headers["host"] == headers["x-forwarded-host"] == NAME
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == headers["x-scheme"] == "https"
    assert "203.0.113.9" not in str(headers)


def test_visitors_get_http2_and_each_header_once(host: Host) -> None:
    for path, status in (("", "200"), ("../none", "404")):
        get = f"{CURL} --path-as-is --http2 -o /dev/null -D - {HTTPS}{path}"
        head = host.sudo(get).lower().splitlines()
        assert head[0].split()[:2] == ["http/2", status]
        assert head.count("x-content-type-options: nosniff") == 1
        assert head.count("strict-transport-security: max-age=31536000") == 1
        assert head.count("referrer-policy: strict-origin-when-cross-origin") == 1
        assert head.count("server: nginx") == 1


def test_the_log_keeps_no_query(host: Host) -> None:
    host.answer(f"'{HTTPS}lab?token=tell-nobody'")
    log = host.sudo("cat /var/log/nginx/access.log")
    assert '"GET /jupyter/lab HTTP/2.0" 200' in log and "tell-nobody" not in log


def test_uploads_have_a_limit(host: Host) -> None:
    for flag in ("--http1.1", "--http2"):
        send = f"{flag} -H Expect: --data-binary @- {HTTPS}"
        told = host.sudo(f"head -c 20M /dev/zero | {CURL} {send}")
        assert json.loads(told)["bytes"] == 20 * 2**20
        assert host.sudo(f"head -c 21M /dev/zero | {STATUS} {send}") == "413 \n"


def test_a_websocket_outlives_a_renewal(host: Host) -> None:
    serial = (
        f"openssl s_client -connect localhost:443 -servername {NAME} </dev/null 2>/dev/null |"
        " openssl x509 -serial -noout"
    )
    with host.websocket() as websocket:
        assert echo(websocket, b"before") == b"before"
        served = host.sudo(serial).strip()
        host.sudo("rm /etc/hubstead/tls/issued-for; systemctl start hubstead-certificate")
        host.sudo(f"until [ \"$({serial})\" != '{served}' ]; do sleep 0.2; done")
        assert echo(websocket, b"after") == b"after"
    check_shop(host)


def test_only_the_hub_host_can_be_the_proxy(host: Host) -> None:
    """One that has the port and another authority's certificate for the right name."""
    host.sudo(
        "mkdir -p /root/other && cd /root/other && openssl req -x509 -newkey rsa:2048 -nodes"
        f" -subj /CN={NAME} -addext subjectAltName=DNS:{NAME},DNS:localhost"
        " -keyout key.pem -out fullchain.pem 2>/dev/null"
    )
    host.begin("/root/other")
    try:
        assert host.sudo(f"{CURL} -w '%{{http_code}}' {HTTPS}") == f"{DOWN}503"
        host.sudo("systemctl stop upstream")
        assert host.sudo(f"{CURL} -w '%{{http_code}}' {HTTPS}") == f"{DOWN}503"
    finally:
        host.begin("/etc/hubstead/tls")
    # at once: Nginx does not shun it for a while
    check_service(host)


def test_a_broken_configuration_stops_nothing(host: Host) -> None:
    theirs = "/etc/nginx/conf.d/theirs.conf"
    master = host.master()
    host.sudo(f"echo 'nonsense;' >{theirs}")
    run = host.nginx("edge_upload_limit=7")
    assert run.status != 0
    assert theirs in run.output and "nonsense" in run.output and "serves as before" in run.output
    # neither does a renewal in the meantime, nor someone who reloads it himself
    renew = "systemctl start hubstead-certificate"
    assert "failed" in host.sudo(f"rm /etc/hubstead/tls/issued-for; {renew} 2>&1 || echo failed")
    assert "failed" in host.sudo("systemctl reload nginx 2>&1 || echo failed")
    check_shop(host)
    check_service(host)
    host.sudo(f"rm {theirs}; {renew}")
    run = host.nginx()
    assert run.status == 0, run.end
    assert host.nginx().changed == []
    assert host.master() == master


def test_the_owners_own_site_may_lead_to_the_service(host: Host, before: str) -> None:
    """And once it does not any more, nothing is left of us."""
    shop = "/etc/nginx/sites-available/shop"
    host.sudo(f"sed -i '/location/i include snippets/hubstead.conf;' {shop}")
    run = host.nginx("edge_site=False")
    assert run.status == 0, run.end
    check_shop(host)
    told = host.answer("-k https://shop.example.org/jupyter/lab")
    assert (told["path"], told["headers"]["host"]) == ("/jupyter/lab", "shop.example.org")
    assert host.sudo(f"{CURL} http://{NAME}/") == "Fine goods\n"
    assert host.nginx("edge_site=False").changed == []

    refused = host.retire()
    assert refused.status != 0
    assert "sites-enabled/shop" in refused.output and "remove `include" in refused.output
    host.sudo(f"sed -i /hubstead/d {shop}")
    assert host.retire().status == 0
    check_shop(host)
    assert host.sudo(_CONFIGURATION).splitlines() == before.splitlines()


def test_where_ports_are_taken_others_will_do(bare: Host, before: str) -> None:
    """And an Nginx that came for us alone goes with us."""
    bare.sudo("DEBIAN_FRONTEND=noninteractive apt-get purge -qy 'nginx*' >/dev/null")
    bare.sudo("rm -r /var/www")
    everything = "find /etc /usr/local /var/lib/hubstead /var/www | sort; dpkg -l | grep ^ii"
    nothing = bare.sudo(everything)
    bare.sudo("systemd-run -q --collect --unit=theirs python3 -m http.server 80")
    refused = bare.nginx()
    assert refused.status != 0
    assert "port 80 is taken by python3" in refused.output and "`edge_http_port`" in refused.output
    assert bare.sudo(everything) == nothing

    ports = ("edge_http_port=8080", "edge_https_port=8443")
    run = bare.nginx(*ports)
    assert run.status == 0, run.end
    redirect = bare.sudo(f"{STATUS} http://{NAME}:8080/jupyter/x")
    assert redirect == f"301 https://{NAME}:8443/jupyter/x\n"
    headers = bare.answer(f"https://{NAME}:8443/jupyter/x")["headers"]
    assert headers["host"] == f"{NAME}:8443" and headers["x-forwarded-port"] == "8443"

    bare.sudo("systemctl stop theirs")
    assert bare.nginx().status == 0
    check_service(bare)
    # nobody's name: not the package's page, and not the service
    for url in ("http://192.0.2.7/", "https://192.0.2.7/jupyter/"):
        assert bare.sudo(f"{STATUS} -k {url}") == "421 \n"
    assert bare.retire().status == 0
    assert bare.sudo(everything).splitlines() == nothing.splitlines()
