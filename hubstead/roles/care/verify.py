"""Verify: the deployed service, asked from inside its hosts, part by part."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from hubstead import health, parts
from hubstead.listeners import Listener, listeners
from hubstead.operations import checks, outside
from hubstead.settings.edge import EdgeSettings
from hubstead.site import Site


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
    checks.all_pass([health.listening(expected, of="")])


@deploy("verify")
def _hub(site: Site) -> None:
    checks.all_pass(health.of_hub(site))
    for part in parts.chosen(site):
        part.tell(site)


@deploy("verify")
def _lab(site: Site) -> None:
    checks.all_pass(health.of_lab(site))


@deploy("verify")
def _front(site: Site) -> None:
    checks.all_pass(health.of_front(site))
    if site[EdgeSettings].edge_ask_from_here:
        _outside(site)


def _outside(site: Site) -> None:
    _, https = health.front(site)
    outside.answers(
        name="Ask for them from here, as people do",
        pages=health.pages(site),
        port=https.port,
        authority=health.authority(site),
        mend="Look at the DNS records of these names, and at firewalls between here and "
        f"{site.edge.name} (of the host, of the cloud). Where this machine is not meant to reach "
        "it, set `edge_ask_from_here` to False.",
    )
