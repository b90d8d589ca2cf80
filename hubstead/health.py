"""Health: what has to hold of a deployed service, part by part.

deploys/verify.py asks for it after each run, and deploys/doctor.py where something is wrong.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from hubstead import certificates, hub, parts
from hubstead.listeners import LOOPBACK, Listener, listeners
from hubstead.operations import checks, users_table
from hubstead.operations.checks import CURL, Check
from hubstead.operations.outside import Page
from hubstead.parts import Authenticator
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.firewall import FirewallSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.model import PROXIES
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
#: Where the login and JupyterLab listen, where people share one
_LOGIN, _LAB = "/run/hubstead-login/login.sock", "/run/hubstead-jupyterlab/jupyterlab.sock"


def part_of(listener: Listener) -> str:
    """Whose failure it is where nothing listens there."""
    if listener.role in ("jupyterhub", "postgres"):
        return {"jupyterhub": "hub", "postgres": "database"}[listener.role]
    return "proxy" if listener.role in (*PROXIES.names, "pages") else "edge"


def listening(expected: Iterable[Listener], of: str) -> Check:
    """On each host: what should listen there."""
    targets = [
        word for each in expected for word in (f"{each.address or LOOPBACK}:{each.port}", each.unit)
    ]
    names = tuple(dict.fromkeys(targets[1::2]))
    return Check(
        name="Connect to each port of the service",
        part="A port of the service",
        script=f"python3 -c {shlex.quote(_LISTENING)} {' '.join(targets)}",
        mend=f"journalctl {' '.join(f'-u {unit}' for unit in names)}",
        of=of,
        units=names,
    )


def of_hub(site: Site) -> Iterator[Check]:
    """On the hub host: the Hub and its parts."""
    credential = f"{hub.CREDENTIALS}/metrics"
    for way in parts.ways(site):
        yield from way.checks(site)
    yield Check(
        name="Ask the Hub, and through it its database",
        part="The Hub",
        script=f"""
            sed 's/["\\\\]/\\\\&/g; s/.*/header = "Authorization: token &"/' {credential} |
            {CURL} --fail --output /dev/null --config - \\
                {parts.hub_url(site)}{site[HubSettings].hub_base_url}hub/metrics""",
        mend=f"journalctl -u jupyterhub; journalctl -u 'postgresql*' on {site.db.name}",
        of="hub",
        units=("jupyterhub.service",),
    )
    if site[FirewallSettings].firewall:
        yield Check(
            name="Try its port as an account of the host without rights",
            part="Who reaches the Hub's port",
            script=f"""
                if setpriv --reuid=nobody --regid=nogroup --clear-groups \\
                    {CURL} --output /dev/null {parts.hub_url(site)}
                then echo it gets through; exit 1; fi""",
            mend="iptables -S HUBSTEAD-OUTPUT",
            of="firewall",
        )
    yield from parts.proxy(site).checks(site)
    yield from parts.spawner(site).checks(site)


def of_lab(site: Site) -> Iterator[Check]:
    """On the hub host, where people share a JupyterLab: its parts."""
    yield users_table.check(server=site.db.name)
    yield Check(
        name="Ask the login, and through it its database",
        part="The login",
        script=f"{CURL} --fail --unix-socket {_LOGIN} http://localhost/internal/health",
        mend="journalctl -u hubstead-login -u jupyterlab",
        of="login",
        units=("hubstead-login.service",),
    )
    yield Check(
        name="Try JupyterLab without its token",
        part="JupyterLab",
        script=checks.answers(f"--unix-socket {_LAB} http://localhost/api/contents", 403),
        mend="journalctl -u jupyterlab",
        of="lab",
        units=("jupyterlab.service",),
    )


def of_front(site: Site) -> Iterator[Check]:
    """On the host that faces the internet: the way in."""
    http, https = front(site)
    name, behind = site.names[0], "jupyterhub" if _is_hub(site) else "hubstead-login"
    status, sign = _answer(site)
    yield Check(
        name="Ask for the login page over HTTPS",
        part="The login page",
        script=f"""
            answer=$({CURL} {_trust(site)} --write-out '%{{http_code}}' \\
                --resolve {name}:{https.port}:{LOOPBACK} {site.url}{_page(site)})
            echo "it says ${{answer##*>}} and not {status}, or has no {shlex.quote(sign)}"
            case $answer in *{shlex.quote(sign)}*{status}) ;; *) false ;; esac""",
        mend=f"journalctl -u {https.unit}; journalctl -u {behind} on {site.hub.name}",
        of="page",
        units=(https.unit,),
    )
    if site.servers_name:
        yield _servers(site, https)
    yield Check(
        name="Ask for it over HTTP",
        part="The way from HTTP to HTTPS",
        script=f"""
            answer=$({CURL} --output /dev/null --write-out '%{{http_code}} %{{redirect_url}}' \\
                --resolve {name}:{http.port}:{LOOPBACK} \\
                http://{name}:{http.port}/)
            echo "$answer"
            [ "$answer" = "301 {site.url}/" ] || [ "$answer" = "308 {site.url}/" ]""",
        mend=f"journalctl -u {http.unit}",
        of="page",
        units=(http.unit,),
    )


def front(site: Site) -> tuple[Listener, Listener]:
    """Where people come in over HTTP and HTTPS, on the host that faces the internet."""
    ports = {each.setting: each for each in listeners(site)}
    return ports["edge_http_port"], ports["edge_https_port"]


def _is_hub(site: Site) -> bool:
    return site.application == "jupyterhub"


def _page(site: Site) -> str:
    """The path of the login page."""
    return f"{site[HubSettings].hub_base_url}hub/login" if _is_hub(site) else "/auth/login"


def _answer(site: Site) -> tuple[int, str]:
    """Its status, and a part of its text."""
    return parts.login_page(site) if _is_hub(site) else Authenticator.page


def _trust(site: Site) -> str:
    """Whether people trust a certificate from elsewhere is not for this host to say."""
    internal = site[TlsSettings].tls == "internal"
    return f"--cacert {certificates.INTERNAL}/ca.pem" if internal else "--insecure"


def _servers(site: Site, https: Listener) -> Check:
    """The way to a server that does not run: from its name to the Hub's."""
    name = str(site.servers_name).replace("*", "any")
    port, base = site[EdgeSettings].port_in_url, site[HubSettings].hub_base_url
    return Check(
        name="Ask for somebody's server at its own name",
        part="The names of people's servers",
        script=f"""
            answer=$({CURL} {_trust(site)} --output /dev/null --write-out '%{{redirect_url}}' \
                --resolve {name}:{https.port}:{LOOPBACK} https://{name}{port}{base}user/0/)
            echo "$answer"
            [ "$answer" = "{site.url}{base}hub/user/0/" ]""",
        mend=f"journalctl -u {https.unit}; journalctl -u jupyterhub on {site.hub.name}",
        of="page",
        units=(https.unit,),
    )


def pages(site: Site) -> list[Page]:
    """The same from the control machine: what is between the two, the host cannot see."""
    status, _ = _answer(site)
    found = [Page(site.names[0], _page(site), status)]
    if site.servers_name:
        name, base = site.servers_name.replace("*", "any"), site[HubSettings].hub_base_url
        found.append(Page(name, f"{base}user/0/", 302))
    return found


def authority(site: Site) -> str | None:
    """Where the host has what their certificate leads to; None where this machine has to know."""
    internal = site[TlsSettings].tls == "internal"
    return f"{certificates.INTERNAL}/ca.pem" if internal else None
