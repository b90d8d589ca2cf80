"""One host or several: what changes, and what does not, when the database moves out."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from hubstead.operations.docker import BRIDGE_NAME
from hubstead.operations.hub_database import REVISIONS
from tests.unit.plans import DEBIAN_13, ETH0, HUB, Plan, Run

DB, EDGE = "@fake/db.example.org", "@fake/edge.example.org"
THREE = {"edge": [EDGE], "hub": [HUB], "db": [DB]}


def written(run: Run) -> str:
    """What the run writes to files, one below the other."""
    run.execute()
    inputs = (text for text in run.sent.inputs if re.fullmatch("[A-Za-z0-9+/= ]+", text))
    return "\n".join(base64.b64decode(word).decode() for text in inputs for word in text.split())


def access(text: str) -> list[list[str]]:
    """The words of each of our lines of pg_hba.conf."""
    (ours,) = re.findall(r"# BEGIN Hubstead.*?# END Hubstead", text, re.DOTALL)
    return [line.split() for line in ours.splitlines() if not line.startswith("#")]


def test_on_one_host_the_database_has_no_port(plan: Plan) -> None:
    text = written(plan("postgres"))
    assert "listen_addresses = ''" in text and "ssl" not in text
    lines = access(text)
    assert ["local", "userdb", "userdb_reader", "scram-sha-256"] in lines
    assert {line[0] for line in lines if line[-1] != "reject"} == {"local"}


def test_apart_it_lets_in_the_hub_by_tls_and_nobody_else(plan: Plan) -> None:
    text = written(plan("postgres", data={"edge": "nginx"}, **THREE))
    assert "ssl_min_protocol_version = 'TLSv1.2'" in text
    lines = access(text)
    assert lines[-5:] == [
        ["local", "jupyterhub,userdb", "postgres", "peer"],
        ["local", "jupyterhub,userdb", "all", "reject"],
        ["host", "jupyterhub,userdb", "all", "all", "reject"],
        ["local", "all", "jupyterhub,userdb_owner,userdb_reader", "reject"],
        ["host", "all", "jupyterhub,userdb_owner,userdb_reader", "all", "reject"],
    ]
    del lines[-5:]
    assert {(line[0], line[4]) for line in lines} == {("hostssl", "scram-sha-256")}
    assert {line[3] for line in lines} == {"192.0.2.4/32", "2001:db8::4/128"}
    assert {line[2] for line in lines} >= {"jupyterhub", "userdb_owner", "userdb_reader"}


FOUND = "there\ncluster 17/main 5432 online\nsetting listen_addresses *\nanswers"


@pytest.mark.parametrize(
    ("found", "data", "reason"),
    [
        (FOUND.replace("5432", "5433"), {}, "it has port 5433, and Hubstead asks at 5432"),
        (FOUND.replace("online", "down"), {}, "it is down: start it"),
        (FOUND.replace("answers", ""), {}, "the line `local postgres postgres peer`"),
        (FOUND, {"postgres_max_connections": 50}, "remove `postgres_max_connections`, and set it"),
        (FOUND.replace("*", "localhost, ::1"), {}, "it has listen_addresses = 'localhost, ::1'"),
        (FOUND.replace("cluster 17/main 5432 online", ""), {}, "it is not to be read by pg_"),
        (
            "there\ncluster 17/main 5432 online\nanswers",
            {},
            "it has listen_addresses = 'localhost'",
        ),
        (f"setting ssl_cert_file /etc/ssl/shop.pem\n{FOUND}", {}, "certificate /etc/ssl/shop.pem"),
        ("cluster 15/main 5432 online", {}, "has a PostgreSQL cluster 15/main at port 5432"),
    ],
)
def test_a_postgresql_of_the_owners_that_will_not_do_is_refused(
    plan: Plan, found: str, data: dict[str, Any], reason: str
) -> None:
    with pytest.raises(PyinfraError, match=re.escape(reason)) as refused:
        plan(
            "postgres", data={"edge": "nginx", **data}, responses={"pg_lsclusters": found}, **THREE
        )
    assert "no host was touched" in str(refused.value)


def test_one_that_will_do_keeps_its_settings(plan: Plan) -> None:
    data = {"edge": "nginx"}
    run = plan("postgres", data=data, responses={"pg_lsclusters": FOUND}, **THREE)
    text = written(run)
    assert access(text) and "ssl = on" in text
    assert "listen_addresses" not in text and "max_connections" not in text


def test_a_port_of_postgresql_that_somebody_has_is_named(plan: Plan) -> None:
    taken = {"5432": [["docker-proxy", "/system.slice/docker.service"]]}
    with pytest.raises(PyinfraError, match="port 5432 is taken by docker-proxy"):
        plan("postgres", machine=DEBIAN_13 | {"listeners": taken})


@pytest.mark.parametrize(
    ("address", "host"),
    [("db.internal", "db.internal"), ("10.0.0.5", "10.0.0.5"), ("fd00::5", "[fd00::5]")],
)
def test_the_hub_verifies_the_database_host(plan: Plan, address: str, host: str) -> None:
    data = {"edge": "nginx", "base_address": address}
    text = written(plan("jupyterhub", data=data, **THREE))
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


def bridge(name: str, address: str) -> dict[str, Any]:
    return {
        "ifname": name,
        "linkinfo": {"info_kind": "bridge"},
        "addr_info": [{"local": address, "scope": "global"}],
    }


def interfaces(*found: dict[str, Any]) -> dict[str, str]:
    return {"ip -json": json.dumps(found)}


def test_a_host_without_an_address_is_refused(plan: Plan) -> None:
    """Its opening in the others' firewalls would be empty."""
    inner = interfaces(bridge("docker0", "172.17.0.1"))
    with pytest.raises(PyinfraError, match=r"has no address from which .*`ip address`"):
        plan("firewall", data={"edge": "nginx"}, responses=inner, **THREE)
    lan = {"ifname": "eth1", "master": "br-lan", "addr_info": []}
    outer = interfaces(bridge("br-lan", "10.0.0.7"), lan)
    plan("firewall", data={"edge": "nginx"}, responses=outer, **THREE)


def network(name: str) -> dict[str, str]:
    """What Docker says of the users' network."""
    document = {
        "Options": {BRIDGE_NAME: name},
        "IPAM": {"Config": [{"Subnet": "172.30.0.0/16"}]},
        "Containers": {},
    }
    return {"docker network inspect": json.dumps([document])}


@pytest.mark.parametrize("docker", [network("users0"), {}], ids=["docker", "docker-is-down"])
def test_the_users_network_may_have_any_name(plan: Plan, docker: dict[str, str]) -> None:
    answers = interfaces(ETH0, bridge("users0", "172.30.0.1")) | docker
    assert plan("docker", data={"docker_bridge": "users0"}, responses=answers).names


def test_the_users_network_may_get_another_name(plan: Plan) -> None:
    answers = interfaces(ETH0, bridge("hubstead0", "172.30.0.1")) | network("hubstead0")
    assert plan("docker", data={"docker_bridge": "users0"}, responses=answers).names


@pytest.mark.parametrize("docker", [network("hubstead0"), {}], ids=["docker", "no-docker"])
@pytest.mark.parametrize("name", ["virbr0", "docker9", "lan"])
def test_a_network_of_somebody_else_keeps_its_addresses(
    plan: Plan, name: str, docker: dict[str, str]
) -> None:
    answers = interfaces(ETH0, bridge(name, "172.30.0.1")) | docker
    with pytest.raises(PyinfraError, match=rf"172.30.0.1 \({name}\).*set `docker_subnet`"):
        plan("docker", responses=answers)


@pytest.mark.parametrize("docker", [network("hubstead0"), {}], ids=["docker", "no-docker"])
def test_an_interface_of_somebody_else_is_not_taken(plan: Plan, docker: dict[str, str]) -> None:
    """Docker would put its address there, and the firewall would refuse all that comes from it."""
    answers = interfaces(ETH0, bridge("lan", "10.0.0.7")) | docker
    for name in ("eth0", "lan"):
        with pytest.raises(PyinfraError, match=f"interface {name} .*set `docker_bridge`"):
            plan("docker", data={"docker_bridge": name}, responses=answers)


WAY = json.dumps({"reasons": ["userns-remap"], "flags": [], "whole": False})
FLAG = json.dumps({"reasons": [], "flags": ["--exec-opt"], "whole": True})


@pytest.mark.parametrize(
    ("responses", "reason"),
    [
        ({"dpkg-query": "ii |docker-ce\nii |containerd.io"}, "it has containerd.io, docker-ce"),
        ({"dpkg-query": "ii |podman-docker"}, "it has podman-docker, where Hubstead would install"),
        ({"stat --printf": "stat a1ff|root|root|/snap/bin/docker"}, "it has /snap/bin/docker"),
        ({"--config-file": WAY}, "daemon.json of its owner stands in the way of people's servers"),
        ({"--config-file": FLAG}, "its dockerd is started with --exec-opt"),
        ({"docker info": "systemd false active"}, "its Docker is part of a swarm"),
    ],
)
def test_a_docker_of_the_owners_that_will_not_do_is_refused(
    plan: Plan, responses: dict[str, str], reason: str
) -> None:
    with pytest.raises(PyinfraError, match=re.escape(reason)) as refused:
        plan("docker", responses=responses)
    assert "No host was touched" in str(refused.value)


FORMER = "former 15 5432 online\nsize 40\nfree 900"
UPGRADE = {"postgres_upgrade": True}


@pytest.mark.parametrize(
    ("outdated", "data", "reason"),
    [
        (FORMER, {}, "Run again with `--data postgres_upgrade=true`"),
        (FORMER.replace("online", "down"), UPGRADE, "It is down: start it"),
        (f"{FORMER}\nfilled", UPGRADE, "17/main holds databases or roles already"),
        (FORMER.replace("900", "300"), UPGRADE, "take 336 MiB, and 300 MiB are free"),
    ],
)
def test_a_cluster_of_the_former_debian_is_upgraded_on_request(
    plan: Plan, outdated: str, data: dict[str, Any], reason: str
) -> None:
    responses = {"du -sm": outdated, "pg_lsclusters": "there\ncluster 15/main 5432 online\nours"}
    with pytest.raises(PyinfraError, match=re.escape(reason)) as refused:
        plan("postgres", data=data, responses=responses)
    assert "no host was touched" in str(refused.value)
    assert "before Hubstead" not in str(refused.value)


def test_an_owner_is_told_that_all_of_his_moves_too(plan: Plan) -> None:
    responses = {"du -sm": FORMER, "pg_lsclusters": "there\ncluster 15/main 5432 online\nanswers"}
    with pytest.raises(PyinfraError, match="before Hubstead: all databases in it move"):
        plan("postgres", responses=responses)


@pytest.mark.parametrize(
    ("outdated", "data", "upgrades"),
    [
        (FORMER, UPGRADE, True),
        # what was begun is finished, whoever asks
        ("begun\nformer 15 5433 down\nsize 40\nfree 9\nfilled", {}, True),
        ("former 15 5433 down\nsize 40\nfree 9\nfilled", {}, False),
        ("filled", {}, False),
    ],
)
def test_a_cluster_is_upgraded_once(
    plan: Plan, outdated: str, data: dict[str, Any], upgrades: bool
) -> None:
    found = "there\nours\ncluster 15/main 5432 online"
    responses = {"du -sm": outdated, "pg_lsclusters": found}
    run = plan("postgres", data=data, responses=responses)
    run.execute()
    assert any("pg_upgradecluster" in text for text in run.sent.inputs) == upgrades


@pytest.mark.parametrize(
    ("server", "revision", "refused"),
    [
        (18, REVISIONS[1], True),
        (17, REVISIONS[1], False),
        # nothing is to be dumped
        (18, REVISIONS[0], False),
    ],
)
def test_a_database_that_the_hubs_host_cannot_dump_is_refused(
    plan: Plan, server: int, revision: str, refused: bool
) -> None:
    """Before its schema is changed. pg_dump 17 is what the run installs."""
    said = {
        "alembic_version": f"revision {revision}",
        "server_version_num": f"server {server}0002\npg_dump (PostgreSQL) 15.13",
    }
    groups = {"hub": [HUB], "db": [DB]}
    if not refused:
        assert plan(responses=said, **groups).names
        return
    with pytest.raises(PyinfraError) as caught:
        plan(responses=said, **groups)
    assert f"pg_dump 17 there makes none of the PostgreSQL 18 on {DB}" in str(caught.value)
    assert "no host was touched" in str(caught.value) and "\n" not in str(caught.value)
