"""Pages of our own in the place of the proxy's bare errors: its server is gone, the Hub is away."""

from __future__ import annotations

from hubstead import parts
from hubstead.listeners import LOOPBACK, PAGES_PORT, PAGES_UNIT
from hubstead.operations import files, units
from hubstead.programs import program
from hubstead.render import render
from hubstead.settings.jupyterhub import HubSettings
from hubstead.site import Site

URL = f"http://{LOOPBACK}:{PAGES_PORT}"
_PROGRAM = "/usr/local/lib/hubstead/pages"
_FILE = f"/etc/systemd/system/{PAGES_UNIT}"


def served(site: Site) -> None:
    """Ensure that the proxy finds them (programs/pages.py)."""
    service = render(
        "pages",
        _FILE,
        program=_PROGRAM,
        port=PAGES_PORT,
        proxy=parts.proxy(site).unit,
        base_url=site[HubSettings].hub_base_url,
        # else at whichever name the visitor came to
        hub=site.url if site.servers_name else "",
    )
    files.present(
        name="Write the pages for when nobody answers",
        entries={
            "/usr/local/lib/hubstead": files.Directory(),
            _PROGRAM: files.File(program("pages.py"), mode="755"),
            _FILE: files.File(service),
        },
    )
    units.running(name="Serve them to the proxy", unit=PAGES_UNIT, inputs=[_PROGRAM, _FILE])


def absent() -> None:
    """Ensure that they are gone with the proxy."""
    units.stopped(name="Stop its pages", unit=PAGES_UNIT)
    files.present(name="Remove them", entries={_FILE: None, _PROGRAM: None})
