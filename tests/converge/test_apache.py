"""Apache beside someone's own site, and what it does by our doing; the proxy is a stand-in."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.kit.owner import CURL, STATUS, Owned
from tests.kit.support import PROJECT, Run

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/apache_owner.py"
NAME = "own.example.org"
HTTPS = f"https://{NAME}/jupyter/"
OWN = "http://shop.example.org"

# Their own site, on a port of its own as well; ports.conf is edited, 000-default is not.
_OWNER = """
export DEBIAN_FRONTEND=noninteractive
apt-get install -qy --no-install-recommends apache2 >/dev/null
echo 'Listen 8088' >>/etc/apache2/ports.conf
mkdir /srv/shop
echo 'Fine goods' >/srv/shop/index.html
cat >/etc/apache2/sites-available/shop.conf <<END
<VirtualHost *:80 *:8088>
    ServerName shop.example.org
    DocumentRoot /srv/shop
    <Directory /srv/shop>
        Require all granted
    </Directory>
</VirtualHost>
END
a2ensite -q shop
systemctl restart apache2
"""
_CONFIGURATION = """
find /etc/apache2 /srv /var/www -printf '%p %M %u %l\\n' | sort
find /etc/apache2 /var/www /var/lib/hubstead -type f -exec md5sum {} + | sort
apachectl -t -D DUMP_MODULES
"""


class Host(Owned):
    """The host, and its owner's Apache before we came."""

    def apache(self, *data: str) -> Run:
        """Deploy Apache alone."""
        return self.role("apache", *data)


@pytest.fixture(scope="module")
def bare(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host without Apache, and with a certificate and what stands in for the proxy."""
    host = Host(lab, tmp_path_factory.mktemp("apache"), INVENTORY, NAME)
    host.sudo("apt-get update -q && apt-get install -qy --no-install-recommends curl openssl")
    run = host.run("deploys/tls.py")
    assert run.status == 0, run.end
    host.begin("/etc/hubstead/tls")
    yield host


@pytest.fixture(scope="module")
def before(bare: Host) -> str:
    """The configuration of the owner's Apache."""
    bare.sudo(_OWNER)
    return bare.sudo(_CONFIGURATION)


@pytest.fixture(scope="module")
def host(bare: Host, before: str) -> Host:
    """A host with the owner's Apache, and the service beside."""
    first = bare.apache()
    assert first.status == 0, first.end
    again = bare.apache()
    assert (again.status, again.changed) == (0, []), again.end
    return bare


def check_shop(host: Host) -> None:
    for url in (OWN, f"{OWN}:8088"):
        assert host.sudo(f"{CURL} {url}/") == "Fine goods\n"


def echo(websocket: ssl.SSLSocket, text: bytes) -> bytes:
    websocket.sendall(text)
    return websocket.recv(4096)


def test_the_service_lives_beside_the_owners_site(host: Host) -> None:
    check_shop(host)
    assert host.answer()["path"] == "/jupyter/"
    urls = (
        f"http://{NAME}/jupyter/a%2Fb?c=%20d https://{NAME}/ https://{NAME}/jupyter {HTTPS[:-1]}x"
    )
    assert host.sudo(f"{STATUS} {urls} 2>&1 | grep -v '^<'").splitlines() == [
        f"301 https://{NAME}/jupyter/a%2Fb?c=%20d",
        f"302 {HTTPS}",
        f"302 {HTTPS}",
        "404 ",
    ]


def test_names_of_nobody_stay_with_the_owner(host: Host) -> None:
    """Their site is the default one on port 80; on 443 they have none."""
    assert host.sudo(f"{CURL} http://192.0.2.1/") == "Fine goods\n"
    assert host.sudo(f"{STATUS} -k https://192.0.2.1/jupyter/") == "421 \n"


def test_the_proxy_learns_the_visitor_and_not_what_he_says(host: Host) -> None:
    lies = "".join(
        f" -H '{name}: 203.0.113.9'"
        for name in ("X-Forwarded-For", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto",
                     "X-Scheme", "Forwarded")
    )  # fmt: skip
    told = host.answer(f"{lies} '{HTTPS}a%2Fb//%C3%A9?q=%2F'")
    headers = told["headers"]
    assert told["path"] == "/jupyter/a%2Fb//%C3%A9?q=%2F"
    assert headers["host"] == headers["x-forwarded-host"] == NAME
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == headers["x-scheme"] == "https"
    assert "203.0.113.9" not in str(headers)


def test_visitors_get_http2_and_each_header_once(host: Host) -> None:
    head = host.sudo(f"{CURL} --http2 -o /dev/null -D - {HTTPS}").lower().splitlines()
    assert head[0].startswith("http/2 200")
    assert head.count("x-content-type-options: nosniff") == 1
    assert head.count("strict-transport-security: max-age=31536000") == 1
    assert head.count("referrer-policy: strict-origin-when-cross-origin") == 1
    assert host.sudo(f"{CURL} -o /dev/null -D - {HTTPS[:-1]}x").count("max-age=31536000") == 1


def test_uploads_have_a_limit(host: Host) -> None:
    run = host.apache("edge_upload_limit=20")
    assert run.changed == ["apache | Write Apache's site", "apache | Run Apache"], run.end
    for flag in ("--http1.1", "--http2"):
        send = f"{flag} -H Expect: --data-binary @- {HTTPS}"
        told = host.sudo(f"head -c 20M /dev/zero | {CURL} {send}")
        assert json.loads(told)["bytes"] == 20 * 2**20
        assert host.sudo(f"head -c 21M /dev/zero | {STATUS} {send}") == "413 \n"
    assert host.apache().status == 0


def test_a_websocket_outlives_a_renewal(host: Host) -> None:
    ask = "openssl s_client -connect localhost:443 </dev/null 2>/dev/null"
    serial = f"{ask} | openssl x509 -serial -noout"
    with host.websocket() as websocket:
        assert echo(websocket, b"before") == b"before"
        served = host.sudo(serial)
        host.sudo("rm /etc/hubstead/tls/issued-for; systemctl start hubstead-certificate")
        host.sudo(f"until [ \"$({serial})\" != '{served.strip()}' ]; do sleep 0.2; done")
        assert echo(websocket, b"after") == b"after"
    check_shop(host)
    assert host.apache().changed == []


def test_only_the_hub_host_can_be_the_proxy(host: Host) -> None:
    """One that has the port and another authority's certificate for the right name."""
    host.sudo(
        "mkdir -p /root/other && cd /root/other && openssl req -x509 -newkey rsa:2048 -nodes"
        f" -subj /CN={NAME} -addext subjectAltName=DNS:{NAME},DNS:localhost"
        " -keyout key.pem -out fullchain.pem 2>/dev/null"
    )
    host.begin("/root/other")
    try:
        assert host.sudo(f"{CURL} -w ' %{{http_code}}' {HTTPS}") == (
            "JupyterHub does not answer at the moment. Try again in a minute. 500"
        )
        host.sudo("systemctl stop upstream")
        assert host.sudo(f"{STATUS} {HTTPS}") == "503 \n"
    finally:
        host.begin("/etc/hubstead/tls")
    assert host.answer()["path"] == "/jupyter/"


def test_a_broken_configuration_stops_nothing(host: Host) -> None:
    host.sudo("echo Nonsense >/etc/apache2/conf-enabled/theirs.conf")
    run = host.apache("edge_upload_limit=7")
    assert run.status != 0
    assert "/etc/apache2/conf-enabled/theirs.conf" in run.output
    assert "Nonsense" in run.output and "serves as before" in run.output
    check_shop(host)
    assert host.answer()["path"] == "/jupyter/"
    host.sudo("rm /etc/apache2/conf-enabled/theirs.conf")
    run = host.apache()
    assert (run.status, run.changed[-1]) == (0, "apache | Run Apache"), run.end


def test_the_owners_own_site_may_lead_to_the_service(host: Host, before: str) -> None:
    """And once it does not any more, nothing is left of us."""
    host.sudo(
        "sed -i -e 's/:8088/:443/' -e '/ServerName/a SSLEngine On\\nInclude hubstead.conf\\n"
        "SSLCertificateFile /etc/hubstead/tls/fullchain.pem\\n"
        "SSLCertificateKeyFile /etc/hubstead/tls/key.pem' /etc/apache2/sites-available/shop.conf"
        " && sed -i 's/ \\*:80//' /etc/apache2/sites-available/shop.conf"
    )
    run = host.apache("edge_site=False")
    assert run.status == 0, run.end
    told = host.answer("-k https://shop.example.org/jupyter/lab")
    assert (told["path"], told["headers"]["host"]) == ("/jupyter/lab", "shop.example.org")
    assert host.apache("edge_site=False").changed == []

    refused = host.retire()
    assert refused.status != 0
    assert "sites-enabled/shop.conf" in refused.output and "remove `Include" in refused.output
    host.sudo(
        "sed -i -e '/SSL/d' -e '/Include/d' -e 's/\\*:443/*:80 *:8088/'"
        " /etc/apache2/sites-available/shop.conf"
    )
    assert host.retire().status == 0
    check_shop(host)
    assert host.sudo(_CONFIGURATION).splitlines() == before.splitlines()


def test_where_ports_are_taken_others_will_do(bare: Host, before: str) -> None:
    """And an Apache that came for us alone goes with us."""
    bare.sudo(
        "DEBIAN_FRONTEND=noninteractive apt-get purge -qy 'apache2*' >/dev/null; rm -r /srv/shop"
    )
    bare.sudo("rm -rf /etc/apache2 /var/lib/apache2")
    everything = (
        "find /etc /srv /var/lib/apache2 /var/lib/hubstead /var/www 2>/dev/null | sort"
        "; dpkg -l | grep ^ii"
    )
    nothing = bare.sudo(everything)
    bare.sudo("systemd-run -q --collect --unit=theirs python3 -m http.server 80")
    refused = bare.apache()
    assert refused.status != 0
    assert "port 80 is taken by python3" in refused.output and "`edge_http_port`" in refused.output
    assert bare.sudo(everything) == nothing

    ports = ("edge_http_port=8080", "edge_https_port=8443")
    assert bare.apache(*ports).status == 0
    assert bare.apache(*ports).changed == []
    assert (
        bare.sudo(f"{STATUS} http://{NAME}:8080/jupyter/x")
        == f"301 https://{NAME}:8443/jupyter/x\n"
    )
    told = bare.answer(f"https://{NAME}:8443/jupyter/x")
    assert told["headers"]["x-forwarded-port"] == "8443"
    assert told["headers"]["host"] == f"{NAME}:8443"
    assert bare.sudo("ss -Hltnp | grep -c apache2").strip() == "2"

    bare.sudo("systemctl stop theirs")
    assert bare.apache().status == 0
    assert bare.answer()["path"] == "/jupyter/"
    assert bare.retire().status == 0
    assert bare.sudo(everything).splitlines() == nothing.splitlines()
