"""Each edge beside someone's own sites, and what it does by our doing; the proxy is a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.kit.owner import CURL, GOODS, HTTPS, INVENTORY, NAME, SHOP, STATUS, Apache, Nginx, Owned
from tests.kit.support import down

pytestmark = pytest.mark.slow

DOWN = "JupyterHub does not answer at the moment. Try again in a minute."
RENEW = "rm /etc/hubstead/tls/issued-for; systemctl start hubstead-certificate"


@pytest.fixture(scope="module", params=[Nginx, Apache])
def bare(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Owned]:
    """A host without the web server, with a certificate and what stands in for the proxy."""
    lab = Lab()
    lab.up(INVENTORY)
    host: Owned = request.param(lab, tmp_path_factory.mktemp("owner"))
    run = host.run("deploys/base.py", "deploys/tls.py")
    assert run.status == 0, run.end
    host.begin("/etc/hubstead/tls")
    yield host
    down(lab, INVENTORY)


@pytest.fixture(scope="module")
def before(bare: Owned) -> list[str]:
    """The configuration of the owner's server."""
    bare.sudo(bare.owner)
    return bare.configuration()


@pytest.fixture(scope="module")
def host(bare: Owned, before: list[str]) -> Owned:
    """A host with the owner's server, and the service beside."""
    bare.join()
    return bare


def test_the_service_lives_beside_the_owners_sites(host: Owned) -> None:
    host.check_shop()
    host.check_service()
    urls = (
        f"http://{NAME}/jupyter/a%2Fb?c=%20d https://{NAME}/ https://{NAME}/jupyter {HTTPS[:-1]}x"
    )
    assert host.sudo(f"for url in {urls}; do {STATUS} $url; done").splitlines() == [
        f"301 https://{NAME}/jupyter/a%2Fb?c=%20d",
        f"302 {HTTPS}",
        f"{host.slash} {HTTPS}",
        "404 ",
    ]


def test_names_of_nobody_stay_with_the_owner(host: Owned) -> None:
    """Their site is the default one on port 80; Apache has none of theirs on 443."""
    assert host.sudo(f"{CURL} http://192.0.2.1/") == GOODS
    assert host.sudo(f"{STATUS} -k https://192.0.2.1/jupyter/") == f"{host.unknown} \n"


def test_the_proxy_learns_the_visitor_and_not_what_he_says(host: Owned) -> None:
    lies = "".join(f" -H '{name}: 203.0.113.9'" for name in host.lies)
    told = host.answer(f"{lies} '{HTTPS}a%2Fb//%C3%A9?q=%2F'")
    headers = told["headers"]
    assert told["path"] == "/jupyter/a%2Fb//%C3%A9?q=%2F"
    assert headers["host"] == headers["x-forwarded-host"] == NAME
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == headers["x-scheme"] == "https"
    assert "203.0.113.9" not in str(headers)


def test_an_answer_is_the_visitors_and_no_order_to_a_server_on_the_way(host: Owned) -> None:
    """A user's server writes it: it must not lead to what the host serves or has."""
    host.sudo(host.follow)
    try:
        assert host.answer(f"'{HTTPS}follow'")["path"] == "/jupyter/follow"
        head = host.sudo(f"{CURL} -o /dev/null -D - '{HTTPS}follow'")
        assert "1.2.3" not in head and "made-up" not in head
    finally:
        host.sudo(host.unfollow)


def test_visitors_get_http2_and_each_header_once(host: Owned) -> None:
    for path, status in (("", "200"), ("../none", "404")):
        get = f"{CURL} --path-as-is --http2 -o /dev/null -D - {HTTPS}{path}"
        head = host.sudo(get).lower().splitlines()
        assert head[0].split()[:2] == ["http/2", status]
        assert [head.count(header) for header in host.headers] == [1] * len(host.headers)


def test_the_log_keeps_no_query(host: Owned) -> None:
    host.answer(f"'{HTTPS}lab?token=tell-nobody'")
    log = host.sudo(f"cat /var/log/{host.unit}/access.log")
    assert '"GET /jupyter/lab HTTP/2.0" 200' in log and "tell-nobody" not in log


def test_uploads_have_a_limit(host: Owned) -> None:
    run = host.deploy("edge_upload_limit=20")
    steps = [f"{host.edge} | Write {host.title}'s site", f"{host.edge} | Run {host.title}"]
    assert run.changed == steps, run.end
    for flag in ("--http1.1", "--http2"):
        send = f"{flag} -H Expect: --data-binary @- {HTTPS}"
        told = host.sudo(f"head -c 20M /dev/zero | {CURL} {send}")
        assert json.loads(told)["bytes"] == 20 * 2**20
        answer = host.sudo(f"head -c 21M /dev/zero | {STATUS} {send} || true")
        # Debian 12's Apache ends the stream of HTTP/2, and its answer is lost on the way
        lost = (host.edge, flag, host.lab.host(host.name).os) == ("apache", "--http2", "bookworm")
        assert answer == ("000 \n" if lost else "413 \n")
    assert host.deploy().status == 0


def test_a_websocket_outlives_a_renewal(host: Owned) -> None:
    serial = (
        f"openssl s_client -connect localhost:443 -servername {NAME} </dev/null 2>/dev/null |"
        " openssl x509 -serial -noout"
    )
    with host.websocket() as websocket:
        websocket.sendall(b"before")
        assert websocket.recv(4096) == b"before"
        served = host.sudo(serial).strip()
        host.sudo(RENEW)
        host.sudo(f"until [ \"$({serial})\" != '{served}' ]; do sleep 0.2; done")
        websocket.sendall(b"after")
        assert websocket.recv(4096) == b"after"
    host.check_shop()
    assert host.deploy().changed == []


def test_only_the_hub_host_can_be_the_proxy(host: Owned) -> None:
    """One that has the port and another authority's certificate for the right name."""
    host.sudo(
        "mkdir -p /root/other && cd /root/other && openssl req -x509 -newkey rsa:2048 -nodes"
        f" -subj /CN={NAME} -addext subjectAltName=DNS:{NAME},DNS:localhost"
        " -keyout key.pem -out fullchain.pem 2>/dev/null"
    )
    ask = f"{CURL} -w ' %{{http_code}}' {HTTPS}"
    host.begin("/root/other")
    try:
        assert " ".join(host.sudo(ask).split()) == f"{DOWN} {host.unproven}"
        host.sudo("systemctl stop upstream")
        assert " ".join(host.sudo(ask).split()) == f"{DOWN} 503"
    finally:
        host.begin("/etc/hubstead/tls")
    # at once: it does not shun it for a while
    host.check_service()


def test_a_broken_configuration_stops_nothing(host: Owned) -> None:
    main_process = host.main_process()
    host.sudo(f"echo 'Nonsense;' >{host.broken}")
    run = host.deploy("edge_upload_limit=7")
    assert run.status != 0
    for word in (host.broken, "Nonsense", "serves as before"):
        assert word in run.output
    # neither does a renewal in the meantime, nor someone who reloads it himself
    assert "failed" in host.sudo(f"{RENEW} 2>&1 || echo failed")
    assert "failed" in host.sudo(f"systemctl reload {host.unit} 2>&1 || echo failed")
    host.check_shop()
    host.check_service()
    host.sudo(f"rm {host.broken}; systemctl start hubstead-certificate")
    run = host.deploy()
    assert (run.status, run.changed[-1]) == (0, f"{host.edge} | Run {host.title}")
    assert host.deploy().changed == []
    assert host.main_process() == main_process


def test_the_owners_own_site_may_lead_to_the_service(host: Owned, before: list[str]) -> None:
    """And once it does not any more, nothing is left of us."""
    host.sudo(host.lead)
    run = host.deploy("edge_site=False")
    assert run.status == 0, run.end
    host.check_shop()
    told = host.answer(f"-k https://{SHOP}/jupyter/lab")
    assert (told["path"], told["headers"]["host"]) == ("/jupyter/lab", SHOP)
    # our own site is gone
    assert host.sudo(f"{STATUS} http://{NAME}/") == "200 \n"
    assert host.deploy("edge_site=False").changed == []

    refused = host.retire()
    assert refused.status != 0
    assert "sites-enabled/shop" in refused.output
    assert f"remove `{host.include} " in refused.output
    host.sudo(host.leave)
    assert host.retire().status == 0
    host.check_shop()
    assert host.configuration() == before


def test_where_ports_are_taken_others_will_do(bare: Owned, before: list[str]) -> None:
    """And a web server that came for us alone goes with us."""
    bare.sudo(
        f"DEBIAN_FRONTEND=noninteractive apt-get purge -qy '{bare.unit}*' >/dev/null"
        f"; rm -rf {bare.leftovers}"
    )
    everything = (
        "find /etc /srv /usr/local /var/lib/apache2 /var/lib/hubstead /var/www | sort"
        "; dpkg -l | grep ^ii"
    )
    nothing = bare.sudo(everything)
    bare.sudo("systemd-run -q --collect --unit=theirs python3 -m http.server 80")
    refused = bare.deploy()
    assert refused.status != 0
    assert "port 80 is taken by python3" in refused.output and "`edge_http_port`" in refused.output
    assert bare.sudo(everything) == nothing

    ports = ("edge_http_port=8080", "edge_https_port=8443")
    run = bare.deploy(*ports)
    assert run.status == 0, run.end
    assert bare.deploy(*ports).changed == []
    redirect = bare.sudo(f"{STATUS} http://{NAME}:8080/jupyter/x")
    assert redirect == f"301 https://{NAME}:8443/jupyter/x\n"
    headers = bare.answer(f"https://{NAME}:8443/jupyter/x")["headers"]
    assert headers["host"] == f"{NAME}:8443" and headers["x-forwarded-port"] == "8443"
    sockets = f"ss -Hltnp | grep {bare.unit} | awk '{{ print $4 }}'"
    assert {each.rpartition(":")[2] for each in bare.sudo(sockets).split()} == {"8080", "8443"}

    bare.sudo("systemctl stop theirs")
    assert bare.deploy().status == 0
    bare.check_service()
    # nobody's name: not the package's page, and not the service
    for url in ("http://192.0.2.7/", "https://192.0.2.7/jupyter/"):
        assert bare.sudo(f"{STATUS} -k {url}") == "421 \n"
    assert bare.retire().status == 0
    assert bare.sudo(everything).splitlines() == nothing.splitlines()
