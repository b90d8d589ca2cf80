"""Verify: the deployed service, asked from inside the host, part by part."""

from __future__ import annotations

import shlex

from pyinfra.api.deploy import deploy

from hubstead.operations import checks
from hubstead.roles import chp, docker, edge
from hubstead.roles.jupyterhub import CREDENTIALS, HubSettings
from hubstead.settings import load

#: curl without a proxy; a header with a secret reaches it on standard input, not as an argument
_CURL = "curl --silent --show-error --max-time 10 --noproxy '*'"

#: Run in a container: arguments are the Hub's health URL and the host's address
_FROM_INSIDE = """
import socket, sys, urllib.request
health, address = sys.argv[1:]
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(health, timeout=5)
except OSError as error:
    sys.exit(f"a container cannot reach the Hub: {error}")
try:
    socket.create_connection((address, 22), timeout=1)
except OSError:
    sys.exit()
sys.exit("a container reaches the sshd of its host: the firewall is not in place")
"""


@deploy("verify")
def verify() -> None:
    hub, proxy = load(HubSettings), load(edge.EdgeSettings)
    network = load(docker.DockerSettings)
    uses_chp = proxy.proxy == "chp"
    unit = chp.UNIT if uses_chp else "traefik.service"
    api, refusal = ("routes", 403) if uses_chp else ("overview", 401)
    front = "hubstead-redirect.service" if uses_chp else unit
    name, url = edge.names()[0], edge.public_url()
    hub_url = f"http://{network.gateway}:{hub.hub_api_port}{hub.hub_base_url}hub"

    checks.passes(
        name="Ask the users table",
        part="The users table",
        script="hub-users status --json",
        mend="journalctl -u 'postgresql@*'; hub-users status",
    )
    checks.passes(
        name="Ask the Hub, and through it its database",
        part="The Hub",
        script=f"""
            printf 'header = "Authorization: token %s"' "$(cat {CREDENTIALS}/metrics)" |
            {_CURL} --fail --output /dev/null --config - {hub_url}/metrics""",
        mend="journalctl -u jupyterhub -u 'postgresql@*'",
    )
    checks.passes(
        name="Ask the proxy for the login page over HTTPS",
        part="The login page",
        script=f"""
            {_CURL} --fail --cacert /etc/hubstead/tls/ca.pem \\
                --resolve {name}:{proxy.edge_https_port}:127.0.0.1 \\
                {url}{hub.hub_base_url}hub/login | grep -q 'name="password"'""",
        mend=f"journalctl -u {unit} -u jupyterhub",
    )
    checks.passes(
        name="Ask for it over HTTP",
        part="The way from HTTP to HTTPS",
        script=f"""
            answer=$({_CURL} --output /dev/null --write-out '%{{http_code}} %{{redirect_url}}' \\
                --resolve {name}:{proxy.edge_http_port}:127.0.0.1 \\
                http://{name}:{proxy.edge_http_port}/)
            echo "$answer"
            [ "$answer" = "301 {url}/" ] || [ "$answer" = "308 {url}/" ]""",
        mend=f"journalctl -u {front}",
    )
    checks.passes(
        name="Try the proxy's API without its password",
        part="The proxy's API",
        script=f"""
            answer=$({_CURL} --output /dev/null --write-out '%{{http_code}}' \\
                http://127.0.0.1:{edge.API_PORTS[proxy.proxy]}/api/{api})
            echo "it says $answer and not {refusal}"
            [ "$answer" = {refusal} ]""",
        mend="/etc/hubstead/chp/token" if uses_chp else "/var/lib/traefik/dynamic/api.toml",
    )
    checks.passes(
        name="Ask the Hub from a container of the users' network, and try sshd",
        part="The users' network",
        script=f"docker run --rm --network {docker.NETWORK} {docker.image()} python"
        f" -c {shlex.quote(_FROM_INSIDE)} {hub_url}/health {network.gateway}",
        mend="docker network inspect hubstead; iptables -S HUBSTEAD-INPUT; journalctl -u docker",
    )
