"""Python: uv, which builds every release from its hash-pinned lock."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from pyinfra.api.deploy import deploy

from hubstead.operations import files, packages, releases
from hubstead.roles.base import build_env, distribution
from hubstead.settings import Settings, load


class PythonSettings(Settings):
    """Python on the hosts."""

    prefixes = ("python_",)

    python_interpreter: str = Field(
        "/usr/bin/python3",
        description="Absolute path of the interpreter (3.11 or newer) that releases are built on.",
        pattern=r"^/[\w./-]+$",
    )
    python_keep_releases: int = Field(
        3, ge=2, description="How many releases of each component stay on a host."
    )


def release(name: str, component: str, wheels: Sequence[releases.Wheel] = ()) -> None:
    """Build the release of a component from its lock, as the settings of Python say."""
    settings = load(PythonSettings)
    releases.current(
        name=name,
        component=component,
        lock_text=releases.lock(component),
        python=settings.python_interpreter,
        wheels=wheels,
        keep=settings.python_keep_releases,
        env=build_env(),
    )


@deploy("python")
def python() -> None:
    settings = load(PythonSettings)
    packages.installed(name="Install Python's venv module", packages=distribution().venv_packages)
    releases.bootstrap(
        name="Build the release of uv",
        python=settings.python_interpreter,
        env=build_env(),
        keep=settings.python_keep_releases,
    )
    files.present(
        name="Put uv on the path",
        entries={"/usr/local/bin/uv": files.Link(f"{releases.ROOT}/uv/current/bin/uv")},
    )
