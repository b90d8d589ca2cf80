"""Verify: the deployed service, asked from inside its hosts, part by part."""

from __future__ import annotations

import shlex
from ipaddress import IPv4Address

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from hubstead.operations import checks
from hubstead.operations.addresses import Interface, Interfaces, SshConnection
from hubstead.roles import chp, docker, edge, tls
from hubstead.roles.application import application, serves
from hubstead.roles.base import distribution, machine
from hubstead.roles.firewall import FirewallSettings
from hubstead.roles.jupyterhub import CREDENTIALS, HubSettings
from hubstead.settings import load
from hubstead.topology import tier_host

#: curl without a proxy; a header with a secret reaches it on standard input, not as an argument
_CURL = "curl --silent --show-error --max-time 10 --noproxy '*'"

#: Run on the host: which of the arguments, each ADDRESS:PORT, answer there
_ANSWERING = """
import socket, sys
for target in sys.argv[1:]:
    address, _, port = target.rpartition(":")
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        continue
    print(target)
"""

#: Run in a container: arguments are the Hub's health URL, and what must not answer
_FROM_INSIDE = """
import socket, sys, urllib.request
health, *targets = sys.argv[1:]
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(health, timeout=5)
except OSError as error:
    sys.exit(f"a container cannot reach the Hub: {error}")
for target in targets:
    address, _, port = target.rpartition(":")
    try:
        socket.create_connection((address, port), timeout=1)
    except OSError:
        continue
    sys.exit(f"a container reaches the sshd of its host at {target}: the firewall is not in place")
"""


def _unit() -> str:
    """What has to run for an answer of the host that faces the internet."""
    settings = load(edge.EdgeSettings)
    return {
        "traefik": "traefik.service",
        "chp": chp.UNIT,
        "nginx": distribution().nginx.unit,
        "apache": distribution().apache.unit,
    }[settings.proxy if settings.edge == "none" else settings.edge]


def _database() -> str:
    """Where to read what ails the database."""
    return f"journalctl -u 'postgresql*' on {tier_host('db').name}"


def _sshd(gateway: IPv4Address) -> list[str]:
    """Where sshd may listen, each as ADDRESS:PORT; none where no firewall keeps containers away."""
    if not load(FirewallSettings).firewall:
        return []
    ports = {
        port
        for port, listeners in machine().listeners.items()
        if any(each.process == "sshd" for each in listeners)
    }
    connection = host.get_fact(SshConnection, _sudo=False)
    if connection is not None:
        # where systemd listens on its behalf
        ports.add(connection.port)
    interfaces: list[Interface] = host.get_fact(Interfaces)
    own = [a for each in interfaces if each.outward for a in each.addresses if a.version == 4]
    return [f"{address}:{port}" for port in sorted(ports) for address in (gateway, *own)]


def _users_table() -> None:
    checks.passes(
        name="Ask the users table",
        part="The users table",
        script="hub-users status --json",
        mend=f"{_database()}; hub-users status",
    )


def verify() -> None:
    """Ask each part where it runs, and the way in where people come in."""
    if serves("jupyterhub"):
        _hub()
    if serves("jupyterlab"):
        _lab()
    if edge.is_front():
        _front()


@deploy("verify")
def _hub() -> None:
    """On the hub host: its parts."""
    settings, proxy = load(HubSettings), load(edge.EdgeSettings).proxy
    network = load(docker.DockerSettings)
    api, refusal = ("routes", 403) if proxy == "chp" else ("overview", 401)
    hub_url = f"http://{network.gateway}:{settings.hub_api_port}{settings.hub_base_url}hub"
    sshd = _sshd(network.gateway)

    _users_table()
    checks.passes(
        name="Ask the Hub, and through it its database",
        part="The Hub",
        script=f"""
            sed 's/["\\\\]/\\\\&/g; s/.*/header = "Authorization: token &"/' {CREDENTIALS}/metrics |
            {_CURL} --fail --output /dev/null --config - {hub_url}/metrics""",
        mend=f"journalctl -u jupyterhub; {_database()}",
    )
    checks.passes(
        name="Try the proxy's API without its password",
        part="The proxy's API",
        script=f"""
            answer=$({_CURL} --output /dev/null --write-out '%{{http_code}}' \\
                http://127.0.0.1:{edge.API_PORTS[proxy]}/api/{api})
            echo "it says $answer and not {refusal}"
            [ "$answer" = {refusal} ]""",
        mend="/etc/hubstead/chp/token" if proxy == "chp" else "/var/lib/traefik/dynamic/api.toml",
    )
    # only what answers on the host proves something by its silence in a container
    targets = f"$(python3 -c {shlex.quote(_ANSWERING)} {' '.join(sshd)})" if sshd else ""
    checks.passes(
        name=f"Ask the Hub from a container of the users' network{', and try sshd' * bool(sshd)}",
        part="The users' network",
        script=f"docker run --rm --network {docker.NETWORK} {docker.image()} python"
        f" -c {shlex.quote(_FROM_INSIDE)} {hub_url}/health {targets}",
        mend="docker network inspect hubstead; iptables -S HUBSTEAD-INPUT; journalctl -u docker",
    )


@deploy("verify")
def _lab() -> None:
    """On the hub host, where people share a JupyterLab: its parts."""
    sockets = "/run/hubstead-login/login.sock", "/run/hubstead-jupyterlab/jupyterlab.sock"

    _users_table()
    checks.passes(
        name="Ask the login, and through it its database",
        part="The login",
        script=f"{_CURL} --fail --unix-socket {sockets[0]} http://localhost/internal/health",
        mend="journalctl -u hubstead-login -u jupyterlab",
    )
    checks.passes(
        name="Try JupyterLab without its token",
        part="JupyterLab",
        script=f"""
            answer=$({_CURL} --output /dev/null --write-out '%{{http_code}}' \
                --unix-socket {sockets[1]} http://localhost/api/contents)
            echo "it says $answer and not 403"
            [ "$answer" = 403 ]""",
        mend="journalctl -u jupyterlab",
    )


@deploy("verify")
def _front() -> None:
    """On the host that faces the internet: the way in."""
    settings = load(edge.EdgeSettings)
    if not settings.edge_site:
        # the owner's own site leads to the service once it includes our snippet
        return
    name, url = edge.names()[0], edge.public_url()
    hub = application() == "jupyterhub"
    page = f"{load(HubSettings).hub_base_url}hub/login" if hub else "/auth/login"
    behind = "jupyterhub" if hub else "hubstead-login"
    unit = _unit()
    # whether people trust a certificate from elsewhere is not for this host to say
    internal = load(tls.TlsSettings).tls == "internal"
    trust = f"--cacert {tls.INTERNAL}/ca.pem" if internal else "--insecure"

    checks.passes(
        name="Ask for the login page over HTTPS",
        part="The login page",
        script=f"""
            {_CURL} --fail {trust} \\
                --resolve {name}:{settings.edge_https_port}:127.0.0.1 \\
                {url}{page} | grep -q 'name="password"'""",
        mend=f"journalctl -u {unit}; journalctl -u {behind} on {tier_host('hub').name}",
    )
    checks.passes(
        name="Ask for it over HTTP",
        part="The way from HTTP to HTTPS",
        script=f"""
            answer=$({_CURL} --output /dev/null --write-out '%{{http_code}} %{{redirect_url}}' \\
                --resolve {name}:{settings.edge_http_port}:127.0.0.1 \\
                http://{name}:{settings.edge_http_port}/)
            echo "$answer"
            [ "$answer" = "301 {url}/" ] || [ "$answer" = "308 {url}/" ]""",
        mend=f"journalctl -u {unit}",
    )
