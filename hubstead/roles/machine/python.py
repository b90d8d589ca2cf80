"""Python: uv, which builds every release from its hash-pinned lock."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from hubstead.operations import files, packages, releases
from hubstead.releases import build_env
from hubstead.settings.python import PythonSettings
from hubstead.site import Site


@deploy("python")
def python(site: Site) -> None:
    settings = site[PythonSettings]
    packages.installed(
        name="Install Python's venv module", packages=site.distribution.venv_packages
    )
    releases.bootstrap(
        name="Build the release of uv",
        python=settings.python_interpreter,
        env=build_env(site),
        keep=settings.python_keep_releases,
    )
    files.present(
        name="Put uv on the path",
        entries={"/usr/local/bin/uv": files.Link(f"{releases.ROOT}/uv/current/bin/uv")},
    )


@deploy("python")
def absent() -> None:
    """Remove uv."""
    files.present(
        name="Remove uv", entries={"/usr/local/bin/uv": None, f"{releases.ROOT}/uv": None}
    )
