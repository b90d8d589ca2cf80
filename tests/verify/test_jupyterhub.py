"""A deployed JupyterHub as it should be, seen over SSH; nothing is changed."""

import json
from typing import Any

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.slow

SERVICES = ["service"]
UNITS = (
    "docker.service", "hubstead-firewall-docker.service", "hubstead-users-image.timer",
    "jupyterhub.service", "traefik.service",
)  # fmt: skip
CREDENTIALS = "/etc/jupyterhub/credentials"
HUB = "http://172.30.0.1:8081/hub"
CURL = "curl -s --noproxy '*' --max-time 20"
#: Paths that hold secrets, with who may read them
SECRET = {
    "/etc/hubstead/tls/current/key.pem": ("root", "hubstead-tls", 0o640),
    "/etc/hubstead/userdb": ("root", "root", 0o700),
    CREDENTIALS: ("root", "root", 0o700),
    "/etc/traefik": ("root", "traefik", 0o750),
    "/var/lib/jupyterhub": ("jupyterhub", "jupyterhub", 0o700),
    "/var/lib/traefik/dynamic/api.toml": ("root", "traefik", 0o640),
}


def name(host: Host) -> str:
    """The service's main name."""
    return str(host.check_output("head -n 1 /etc/hubstead/tls/names"))


def curl(host: Host, path: str, scheme: str = "https") -> str:
    """Ask the proxy on the host as a client would that trusts its authority."""
    port = {"https": 443, "http": 80}[scheme]
    service = name(host)
    options = f"--resolve {service}:{port}:127.0.0.1 --cacert /etc/hubstead/tls/ca.pem -i"
    return str(host.check_output(f"{CURL} {options} {scheme}://{service}{path}"))


@pytest.mark.parametrize("unit", UNITS)
def test_unit_runs_now_and_after_a_reboot(host: Host, unit: str) -> None:
    service = host.service(unit)
    assert service.is_running and service.is_enabled


def test_only_ssh_and_the_proxy_listen_in_public(host: Host, ssh_ports: set[str]) -> None:
    lines = host.check_output("ss -Hltun").splitlines()
    local = [line.split()[4] for line in lines if "[::1]:" not in line and "127." not in line]
    public = {each.rpartition(":")[2] for each in local if not each.startswith("172.30.0.1:")}
    assert public - {"68"} == ssh_ports | {"80", "443"}  # 68: the DHCP client of a cloud's image
    assert {each for each in local if each.startswith("172.30.0.1:")} == {"172.30.0.1:8081"}


def test_https_answers_with_a_certificate_that_verifies(host: Host) -> None:
    answer = curl(host, "/hub/login")
    assert " 200" in answer.splitlines()[0]
    assert "strict-transport-security: max-age=31536000" in answer.lower()
    assert 'name="password"' in answer


def test_http_leads_to_https(host: Host) -> None:
    answer = curl(host, "/hub/login?next=x", "http")
    assert answer.splitlines()[0].split()[1] in ("301", "308")
    assert f"location: https://{name(host)}/hub/login?next=x" in answer.lower()


def test_the_proxys_api_wants_a_password(host: Host) -> None:
    api = "-o /dev/null -w '%{http_code}' http://127.0.0.1:10/api/rawdata"
    assert host.check_output(f"{CURL} {api}") == "401"


def test_the_hub_is_healthy(host: Host) -> None:
    assert host.run(f"{CURL} -f {HUB}/health").succeeded


def test_metrics_want_their_token(host: Host) -> None:
    code = f"{CURL} -o /dev/null -w '%{{http_code}}'"
    assert host.check_output(f"{code} {HUB}/metrics") == "403"
    header = f"""sh -c 'printf "Authorization: token %s" "$(cat {CREDENTIALS}/metrics)"'"""
    assert host.check_output(f"{header} | {code} -H @- {HUB}/metrics") == "200"
    assert host.check_output(f"{header} | {code} -H @- {HUB}/api/users") == "403"


@pytest.mark.parametrize("path", SECRET)
def test_secret_is_for_its_reader_only(host: Host, path: str) -> None:
    file = host.file(path)
    assert (file.user, file.group, file.mode) == SECRET[path]


def test_users_servers_are_confined(host: Host) -> None:
    """Those that run at the moment; there may be none."""
    wanted = "docker ps -q --filter network=hubstead"
    described = host.check_output(f"{wanted} | xargs -r docker inspect") or "[]"
    servers: list[dict[str, Any]] = json.loads(described)
    for server in servers:
        limits = server["HostConfig"]
        assert not limits["Privileged"] and limits["CapDrop"] == ["ALL"]
        assert "no-new-privileges" in limits["SecurityOpt"]
        assert limits["Memory"] > 0 and limits["PidsLimit"] > 0
        assert limits["NanoCpus"] > 0 or limits["CpuQuota"] > 0
        assert all(mount["Type"] == "volume" for mount in server["Mounts"])
