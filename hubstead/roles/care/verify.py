"""Verify: the deployed service, asked from inside its hosts, part by part."""

from __future__ import annotations

import shlex

from pyinfra.api.deploy import deploy

from hubstead import certificates, hub, parts
from hubstead.listeners import LOOPBACK, Listener, listeners
from hubstead.operations import checks, outside, users_table
from hubstead.operations.checks import CURL
from hubstead.parts import Authenticator
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.firewall import FirewallSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.tls import TlsSettings
from hubstead.site import Site

#: Run on the host: arguments are ADDRESS:PORT and the unit whose it is, alternating
_LISTENING = """
import socket, sys
for target, unit in zip(sys.argv[1::2], sys.argv[2::2]):
    address, _, port = target.rpartition(":")
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError as error:
        sys.exit(f"{target}, of {unit}: {error}")
"""


def verify(site: Site) -> None:
    """Ask each part where it runs, and the way in where people come in."""
    if expected := [each for each in listeners(site) if each.always]:
        _listening(expected=expected)
    if site.serves("jupyterhub"):
        _hub(site=site)
    if site.serves("jupyterlab"):
        _lab(site=site)
    # else the owner's own site leads to the service, once it includes our snippet
    if site.plays("edge") and site[EdgeSettings].edge_site:
        _front(site=site)


@deploy("verify")
def _listening(expected: list[Listener]) -> None:
    """On each host: what should listen there."""
    targets = [
        word for each in expected for word in (f"{each.address or LOOPBACK}:{each.port}", each.unit)
    ]
    checks.passes(
        name="Connect to each port of the service",
        part="A port of the service",
        script=f"python3 -c {shlex.quote(_LISTENING)} {' '.join(targets)}",
        mend=f"journalctl {' '.join(f'-u {unit}' for unit in dict.fromkeys(targets[1::2]))}",
    )


@deploy("verify")
def _hub(site: Site) -> None:
    """On the hub host: its parts."""
    credential = f"{hub.CREDENTIALS}/metrics"
    authenticator, spawner, proxy = (
        parts.authenticator(site), parts.spawner(site), parts.proxy(site),
    )  # fmt: skip
    authenticator.verify(site)
    checks.passes(
        name="Ask the Hub, and through it its database",
        part="The Hub",
        script=f"""
            sed 's/["\\\\]/\\\\&/g; s/.*/header = "Authorization: token &"/' {credential} |
            {CURL} --fail --output /dev/null --config - \\
                {parts.hub_url(site)}{site[HubSettings].hub_base_url}hub/metrics""",
        mend=f"journalctl -u jupyterhub; journalctl -u 'postgresql*' on {site.db.name}",
    )
    if site[FirewallSettings].firewall:
        checks.passes(
            name="Try its port as an account of the host without rights",
            part="Who reaches the Hub's port",
            script=f"""
                if setpriv --reuid=nobody --regid=nogroup --clear-groups \\
                    {CURL} --output /dev/null {parts.hub_url(site)}
                then echo it gets through; exit 1; fi""",
            mend="iptables -S HUBSTEAD-OUTPUT",
        )
    proxy.verify(site)
    spawner.verify(site)


@deploy("verify")
def _lab(site: Site) -> None:
    """On the hub host, where people share a JupyterLab: its parts."""
    sockets = "/run/hubstead-login/login.sock", "/run/hubstead-jupyterlab/jupyterlab.sock"

    users_table.answers(server=site.db.name)
    checks.passes(
        name="Ask the login, and through it its database",
        part="The login",
        script=f"{CURL} --fail --unix-socket {sockets[0]} http://localhost/internal/health",
        mend="journalctl -u hubstead-login -u jupyterlab",
    )
    checks.passes(
        name="Try JupyterLab without its token",
        part="JupyterLab",
        script=checks.answers(f"--unix-socket {sockets[1]} http://localhost/api/contents", 403),
        mend="journalctl -u jupyterlab",
    )


@deploy("verify")
def _front(site: Site) -> None:
    """On the host that faces the internet: the way in."""
    ports = {each.setting: each for each in listeners(site)}
    http, https = ports["edge_http_port"], ports["edge_https_port"]
    name, is_hub = site.names[0], site.application == "jupyterhub"
    page = f"{site[HubSettings].hub_base_url}hub/login" if is_hub else "/auth/login"
    behind = "jupyterhub" if is_hub else "hubstead-login"
    # whether people trust a certificate from elsewhere is not for this host to say
    internal = site[TlsSettings].tls == "internal"
    trust = f"--cacert {certificates.INTERNAL}/ca.pem" if internal else "--insecure"

    status, sign = parts.authenticator(site).page if is_hub else Authenticator.page

    checks.passes(
        name="Ask for the login page over HTTPS",
        part="The login page",
        script=f"""
            answer=$({CURL} {trust} --write-out '%{{http_code}}' \\
                --resolve {name}:{https.port}:{LOOPBACK} {site.url}{page})
            echo "it says ${{answer##*>}} and not {status}, or has no {shlex.quote(sign)}"
            case $answer in *{shlex.quote(sign)}*{status}) ;; *) false ;; esac""",
        mend=f"journalctl -u {https.unit}; journalctl -u {behind} on {site.hub.name}",
    )
    if site.servers_name:
        _servers(site, https, trust)
    checks.passes(
        name="Ask for it over HTTP",
        part="The way from HTTP to HTTPS",
        script=f"""
            answer=$({CURL} --output /dev/null --write-out '%{{http_code}} %{{redirect_url}}' \\
                --resolve {name}:{http.port}:{LOOPBACK} \\
                http://{name}:{http.port}/)
            echo "$answer"
            [ "$answer" = "301 {site.url}/" ] || [ "$answer" = "308 {site.url}/" ]""",
        mend=f"journalctl -u {http.unit}",
    )
    if site[EdgeSettings].edge_ask_from_here:
        _outside(site, page, status, https)


def _outside(site: Site, page: str, status: int, https: Listener) -> None:
    """The same from the control machine: what is between the two, the host cannot see."""
    pages = [outside.Page(site.names[0], page, status)]
    if site.servers_name:
        name, base = site.servers_name.replace("*", "any"), site[HubSettings].hub_base_url
        pages.append(outside.Page(name, f"{base}user/0/", 302))
    internal = site[TlsSettings].tls == "internal"
    outside.answers(
        name="Ask for them from here, as people do",
        pages=pages,
        port=https.port,
        authority=f"{certificates.INTERNAL}/ca.pem" if internal else None,
        mend="Look at the DNS records of these names, and at firewalls between here and "
        f"{site.edge.name} (of the host, of the cloud). Where this machine is not meant to reach "
        "it, set `edge_ask_from_here` to False.",
    )


def _servers(site: Site, https: Listener, trust: str) -> None:
    """The way to a server that does not run: from its name to the Hub's."""
    name = str(site.servers_name).replace("*", "any")
    port, base = site[EdgeSettings].port_in_url, site[HubSettings].hub_base_url
    checks.passes(
        name="Ask for somebody's server at its own name",
        part="The names of people's servers",
        script=f"""
            answer=$({CURL} {trust} --output /dev/null --write-out '%{{redirect_url}}' \
                --resolve {name}:{https.port}:{LOOPBACK} https://{name}{port}{base}user/0/)
            echo "$answer"
            [ "$answer" = "{site.url}{base}hub/user/0/" ]""",
        mend=f"journalctl -u {https.unit}; journalctl -u jupyterhub on {site.hub.name}",
    )
