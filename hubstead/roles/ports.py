"""Ports: whether what listens on a port of the settings is ours, or leaves it to us.

A process is known by its unit (systemd.unit(5)): many programs are called nginx.
"""

from __future__ import annotations

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead.distributions import WebServer
from hubstead.operations import apache, packages, sites
from hubstead.roles.base import distribution, machine

#: The unit of each role that listens and is Hubstead's alone
UNITS = {
    "traefik": "traefik.service",
    "chp": "configurable-http-proxy.service",
    "redirect": "hubstead-redirect.service",  # of earlier versions (hubstead.roles.former)
    "jupyterhub": "jupyterhub.service",
}


def refuse_taken_ports(role: str, ports: dict[str, int]) -> None:
    """Raises PyinfraError where somebody else's process listens on a port that a role shall have.

    Not somebody else's is what the role itself has there, and what an earlier run brought for
    another role, which this run moves away first.

    + ports: setting to port.
    """
    here = machine()
    for key, port in ports.items():
        listeners = here.listeners.get(port, [])
        others = [each for each in listeners if not _gives_way(each.unit, role, port)]
        if others:
            raise PyinfraError(
                f"{host.name}: port {port} is taken by {', '.join(map(str, others))}, a service "
                f"that is not Hubstead's. Stop it, or set `{key}` to a free port."
            )


def _gives_way(unit: str, role: str, port: int) -> bool:
    here = machine()
    # hosts of before roles were noted down had these two
    noted = here.roles if here.roles or here.bare else ("traefik", "jupyterhub")
    for name in noted:
        if unit == UNITS.get(name):
            # the Hub comes behind the others, and would still be there
            return name in (role, "traefik", "chp", "redirect")
    # these serve the owner's sites as well
    for server in (distribution().nginx, distribution().apache):
        if unit == server.unit:
            if role == server.name:
                return True
            # JupyterLab has a site of its own on the host's Nginx
            known = server.name in noted or (role, server.name) == ("jupyterlab", "nginx")
            return known and port not in _others_ports(server)
    return False


def _others_ports(server: WebServer) -> frozenset[int]:
    """The ports that a web server has without our sites; none where it goes with them."""
    state = host.get_fact(apache.Apache)
    ours = {apache.PORTS} if state.replaced else set()
    foreign: list[str] = host.get_fact(sites.Foreign, server)
    theirs = [path for path in foreign if "hubstead" not in path and path not in ours]
    if host.get_fact(packages.Note, server.name) and not theirs:
        return frozenset()
    if server.name == "apache":
        return state.others | (apache.DEFAULT_PORTS if state.replaced else state.ports_conf)
    # the package's page, which comes back
    page = {80} if host.get_fact(sites.DefaultSite, server).disabled_by_us else set()
    return host.get_fact(sites.NginxPorts) | page
