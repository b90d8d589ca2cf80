"""Notes on a host: which roles are on it that a switch of the settings may make needless."""

from __future__ import annotations

from hubstead.operations import files
from hubstead.site import Site

#: One empty file a role
ROLES = "/var/lib/hubstead/roles"


def claim(site: Site, role: str) -> None:
    """Note down that a role is on the host at hand, before anything of it is.

    The role's removal takes the note away, last of all: a run that is cut leaves it, and the next
    one finishes.
    """
    note: dict[str, files.Entry] = {
        "/var/lib/hubstead": files.Directory(),
        ROLES: files.Directory(),
        f"{ROLES}/{role}": files.File(""),
    }
    files.present(
        name="Note down that the role is here", entries={} if role in site.machine.roles else note
    )
