"""Ports: whether what listens on a port of the settings is ours, or leaves it to us; and whose it
stays while nothing listens there.

A process is known by its unit (systemd.unit(5)): many programs are called nginx.
"""

from __future__ import annotations

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead import parts
from hubstead.distributions import WebServer
from hubstead.listeners import PAGES_UNIT, Listener, listeners
from hubstead.operations import apache, files, packages, sites, units
from hubstead.programs import program
from hubstead.render import render
from hubstead.site import Site

#: Units that are Hubstead's alone, beside the proxies'; the redirect is of earlier versions
_UNITS = {"jupyterhub": "jupyterhub.service", "redirect": "hubstead-redirect.service"}

#: From this one on every account of a host may listen (ip(7), ip_unprivileged_port_start)
FIRST_UNPRIVILEGED = 1024
_PROGRAM = "/usr/local/lib/hubstead/port-holder"
_TEMPLATE = "/etc/systemd/system/hubstead-port.service"


def refuse_taken_ports(site: Site, role: str) -> None:
    """Raises PyinfraError where somebody else's process listens on a port that a role shall have.

    Not somebody else's is what the role itself has there, and what an earlier run brought for
    another role, which this run moves away first.
    """
    for listener in listeners(site):
        if listener.role != role:
            continue
        found = site.machine.listeners.get(listener.port, [])
        others = [each for each in found if not _gives_way(site, each.unit, role, listener.port)]
        # where ours has it already, they have it on other addresses
        ours = any(each.unit == listener.unit for each in found if each not in others)
        if others and not ours:
            mend = f", or set `{listener.setting}` to a free port" if listener.setting else ""
            raise PyinfraError(
                f"{host.name}: port {listener.port} is taken by {', '.join(map(str, others))}, a "
                f"service that is not Hubstead's. Stop it{mend}."
            )


def refuse_another(site: Site, role: str, unit: str, *configuration: str) -> None:
    """Raises PyinfraError where another program of a role's name is on the host, running or not.

    + unit, configuration: what the role would put in the place of the other's.
    """
    # an owner may have edited what is ours
    if role in site.machine.roles:
        return
    for path in host.get_fact(units.Others, unit, list(configuration)):
        raise PyinfraError(
            f"{host.name}: {path} is not Hubstead's, and a run would put its own {unit} in the "
            "place of that one; no host was touched. Move that away, or take another host."
        )


def _gives_way(site: Site, unit: str, role: str, port: int) -> bool:
    if unit == PAGES_UNIT:
        return role == "pages"
    here = site.machine
    # hosts of before roles were noted down had these two
    noted = here.roles if here.roles or here.bare else ("traefik", "jupyterhub")
    ours = _UNITS | {name: proxy.unit for name, proxy in parts.proxies().items()}
    for name in noted:
        if unit == ours.get(name):
            # the Hub comes behind the others, and would still be there
            return name == role or name != "jupyterhub"
    # these serve the owner's sites as well
    for server in site.distribution.edges.values():
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


def held(site: Site, role: str) -> list[Listener]:
    """The ports of a role that every account of the host could take while the role restarts."""
    return [
        each for each in listeners(site) if each.role == role and each.port >= FIRST_UNPRIVILEGED
    ]


def _holder(role: str) -> str:
    return f"hubstead-port-{role}.service"


def _file(role: str) -> str:
    return f"/etc/systemd/system/{_holder(role)}"


def hold_ports(site: Site, role: str, user: str) -> None:
    """Ensure that nobody else has the ports of a role while its unit restarts, or is stopped.

    + user: who runs the unit, which shares the ports by SO_REUSEPORT (socket(7)).

    To be called when the unit runs: one from before this holder leaves the ports to nobody.
    """
    ports = held(site, role)
    if not ports:
        release_ports(role)
        return
    files.present(
        name="Write what holds its port",
        entries={
            "/usr/local/lib/hubstead": files.Directory(),
            _PROGRAM: files.File(program("port_holder.py"), mode="755"),
            _file(role): files.File(
                render(
                    "ports",
                    _TEMPLATE,
                    unit=ports[0].unit,
                    user=user,
                    program=_PROGRAM,
                    targets=[f"{each.address or ''}:{each.port}" for each in ports],
                )
            ),
        },
    )
    units.running(name="Hold its port", unit=_holder(role), inputs=[_PROGRAM])


def release_ports(role: str) -> None:
    """Ensure that nothing holds the ports of a role that goes."""
    units.stopped(name="Stop holding its port", unit=_holder(role))
    files.present(
        name="Remove what held it",
        entries={_file(role): None},
    )
