"""Edges: what the web servers in front of the proxy have in common."""

from __future__ import annotations

from typing import Any

from hubstead import certificates
from hubstead.distributions import WebServer
from hubstead.operations import files, sites
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.site import Site


def values(site: Site) -> dict[str, Any]:
    """What the templates of an edge are given, whichever server it is."""
    settings = site[EdgeSettings]
    return {
        "settings": settings,
        "names": site.every_name,
        "port": settings.port_in_url,
        "base_url": site[HubSettings].hub_base_url,
        "proxy": site.proxy_endpoint,
        "root": certificates.root_of(site, site.hub),
        "certificate": certificates.public_directory(site),
        "ciphers": certificates.CIPHERS,
        "challenges": certificates.challenges(site),
    }


def hook(site: Site, server: WebServer) -> dict[str, files.Entry]:
    """Have the server read a renewed certificate; none of ours where the owner's site leads."""
    script = files.File(sites.reload_hook(server), mode="755")
    path = f"{certificates.public_directory(site)}/hooks/{server.name}"
    return {path: script if site[EdgeSettings].edge_site else None}
