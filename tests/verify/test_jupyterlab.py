"""A deployed JupyterLab behind its login as it should be, seen over SSH; nothing is changed."""

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.slow

SERVICES = ["shared"]
UNITS = (
    "hubstead-login-relay.service", "hubstead-login-relay.socket", "hubstead-login.service",
    "hubstead-login.socket", "jupyterlab.service", "nginx.service",
)  # fmt: skip
CREDENTIALS = "/etc/jupyterlab/credentials"
#: Paths that hold secrets, or people's work, with who may read them
PRIVATE = {
    CREDENTIALS: ("root", "root", 0o700),
    "/run/hubstead-jupyterlab": ("jupyterlab", "www-data", 0o2710),
    "/run/hubstead-token": ("jupyterlab", "hubstead-token", 0o2710),
    "/run/hubstead-token/token": ("jupyterlab", "hubstead-token", 0o640),
    "/var/lib/jupyterlab": ("jupyterlab", "jupyterlab", 0o700),
}


@pytest.fixture
def address(host: Host) -> str:
    """The service's first address, as the login knows it: https://name:port."""
    shown = host.check_output("systemctl show -P Environment hubstead-login.service")
    (origins,) = [
        word.partition("=")[2] for word in shown.split() if "HUBSTEAD_LOGIN_ORIGINS=" in word
    ]
    return str(origins.strip('"'))


def curl(host: Host, url: str, *options: str) -> str:
    """Ask the edge on the host as a client would that trusts its authority."""
    to_itself = (
        f"--connect-to ::127.0.0.1: --cacert /etc/hubstead/tls/ca.pem -i {' '.join(options)}"
    )
    return str(host.check_output(f"curl -s --noproxy '*' --max-time 20 {to_itself} {url}"))


@pytest.mark.parametrize("unit", UNITS)
def test_unit_runs_now_and_after_a_reboot(host: Host, unit: str) -> None:
    service = host.service(unit)
    assert service.is_running and service.is_enabled


def test_only_ssh_and_the_edge_listen_in_public(
    host: Host, address: str, ssh_ports: set[str]
) -> None:
    lines = host.check_output("ss -Hltun").splitlines()
    local = [line.split()[4] for line in lines if "[::1]:" not in line and "127." not in line]
    public = {each.rpartition(":")[2] for each in local}
    assert public - {"68"} == ssh_ports | {"80", address.rpartition(":")[2]}


def test_the_login_answers_with_a_certificate_that_verifies(host: Host, address: str) -> None:
    answer = curl(host, f"{address}/auth/login")
    assert " 200" in answer.splitlines()[0]
    assert "strict-transport-security: max-age=31536000" in answer.lower()
    assert 'name="password"' in answer


def test_nobody_gets_in_without_a_session(host: Host, address: str) -> None:
    page = curl(host, f"{address}/lab", "-H", "'Accept: text/html'")
    assert " 302" in page.splitlines()[0] and "/auth/login" in page
    for path in ("api/contents", "api/kernels", "files/x", "static/favicon.ico"):
        assert " 401" in curl(host, f"{address}/{path}").splitlines()[0]


def test_http_leads_to_https(host: Host, address: str) -> None:
    name = address.removeprefix("https://").rpartition(":")[0]
    answer = curl(host, f"http://{name}/lab")
    assert answer.splitlines()[0].split()[1] in ("301", "308")
    assert f"location: {address}/lab" in answer.lower()


def test_jupyterlab_wants_its_token(host: Host) -> None:
    """Also from who reaches its socket."""
    code = "-o /dev/null -w '%{http_code}'"
    socket = "curl -s --unix-socket /run/hubstead-jupyterlab/jupyterlab.sock"
    assert host.check_output(f"{socket} {code} http://localhost/api/contents") == "403"
    header = """sh -c 'printf "Authorization: token %s" "$(cat /run/hubstead-token/token)"'"""
    assert host.check_output(f"{header} | {socket} {code} -H @- http://localhost/api/contents") == (
        "200"
    )


@pytest.mark.parametrize("path", PRIVATE)
def test_private_is_for_its_reader_only(host: Host, path: str) -> None:
    file = host.file(path)
    assert (file.user, file.group, file.mode) == PRIVATE[path]
