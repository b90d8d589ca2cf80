"""One host or several: what changes, and what does not, when the database moves out."""

from __future__ import annotations

import base64
import json
import re

import pytest

from tests.unit.plans import HUB, Plan, Run

DB, EDGE = "@fake/db.example.org", "@fake/edge.example.org"
THREE = {"edge": [EDGE], "hub": [HUB], "db": [DB]}
ADDRESSES = json.dumps(
    [
        {
            "ifname": "eth0",
            "addr_info": [
                {"local": address, "scope": "global"} for address in ("192.0.2.4", "2001:db8::4")
            ],
        }
    ]
)
ANSWERS = {"ip -json": ADDRESSES}


def written(run: Run) -> str:
    """What the run writes to files, one below the other."""
    run.execute()
    texts = (text for text in run.sent.inputs if re.fullmatch("[A-Za-z0-9+/=]+", text))
    return "\n".join(base64.b64decode(text).decode() for text in texts)


def test_on_one_host_the_database_has_no_port(plan: Plan) -> None:
    text = written(plan("postgres", responses=ANSWERS))
    assert "listen_addresses = ''" in text and "ssl" not in text
    lines = [line.split() for line in text.splitlines() if line.startswith(("local", "host"))]
    assert ["local", "userdb", "userdb_reader", "scram-sha-256"] in lines
    assert {line[0] for line in lines} == {"local"}


def test_apart_it_lets_in_the_hub_by_tls_and_nobody_else(plan: Plan) -> None:
    text = written(plan("postgres", data={"edge": "nginx"}, responses=ANSWERS, **THREE))
    assert "ssl_min_protocol_version = 'TLSv1.2'" in text
    lines = [line.split() for line in text.splitlines() if line.startswith(("local", "host"))]
    assert lines.pop(0) == ["local", "all", "postgres", "peer"]
    assert {(line[0], line[4]) for line in lines} == {("hostssl", "scram-sha-256")}
    assert {line[3] for line in lines} == {"192.0.2.4/32", "2001:db8::4/128"}
    assert {line[2] for line in lines} >= {"jupyterhub", "userdb_owner", "userdb_reader"}


@pytest.mark.parametrize(
    ("address", "host"),
    [("db.internal", "db.internal"), ("10.0.0.5", "10.0.0.5"), ("fd00::5", "[fd00::5]")],
)
def test_the_hub_verifies_the_database_host(plan: Plan, address: str, host: str) -> None:
    data = {"edge": "nginx", "base_address": address}
    text = written(plan("jupyterhub", data=data, responses=ANSWERS, **THREE))
    root = "/etc/hubstead/trust/db.example.org.pem"
    assert re.search(rf"@{re.escape(host)}/jupyterhub\?sslmode=verify-full&", text)
    assert f"host={address} dbname=userdb user=userdb_reader" in text
    assert f"sslmode=verify-full sslrootcert={root}" in text
    assert "postgresql.service" not in text and '"refuse_at_once_while' in text


def test_on_one_host_the_hub_takes_the_socket(plan: Plan) -> None:
    text = written(plan("jupyterhub"))
    assert "@/jupyterhub?host=/run/postgresql" in text
    assert "host=/run/postgresql dbname=userdb user=userdb_reader" in text
    assert re.search("^After=.* postgresql.service$", text, re.MULTILINE)
    assert "sslmode" not in text and '"refuse_at_once_while' not in text


def test_three_bare_hosts_get_a_whole_plan(plan: Plan) -> None:
    run = plan(data={"edge": "nginx"}, **THREE)
    changing = run.changing
    order = [
        "base | Install the base packages",
        "firewall | Enforce the firewall's rules",
        "tls | Issue the certificate",
        "trust | Learn the authority of the host that it asks",
        "postgres | Run PostgreSQL",
        "jupyterhub | Run JupyterHub",
        "nginx | Run Nginx",
    ]
    assert [name for name in changing if name in order] == order


def test_no_service_starts_before_the_firewall(plan: Plan) -> None:
    for groups in ({"hub": [HUB]}, THREE):
        data = {"edge": "nginx"} if "edge" in groups else {}
        names = plan(data=data, **groups).names
        firewall = names.index("firewall | Enforce the firewall's rules")
        started = [name for name in names[:firewall] if " | Run " in name]
        assert started == ["base | Run sshd with them"]
