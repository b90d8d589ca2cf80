"""Releases: how a component is built on the host at hand, as the settings say."""

from __future__ import annotations

from collections.abc import Sequence

from hubstead.operations import certificates, releases
from hubstead.settings.base import BaseSettings
from hubstead.settings.python import PythonSettings
from hubstead.site import Site


def build_env(site: Site) -> dict[str, str]:
    """Environment for pip, uv and npm on the host: its certificates, and the mirrors."""
    settings = site[BaseSettings]
    env = {
        "PIP_CERT": certificates.BUNDLE,
        "UV_SYSTEM_CERTS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NODE_EXTRA_CA_CERTS": certificates.BUNDLE,
    }
    if settings.base_pypi_index:
        env |= {
            "PIP_INDEX_URL": settings.base_pypi_index,
            "UV_DEFAULT_INDEX": settings.base_pypi_index,
        }
    if settings.base_npm_registry:
        env["NPM_CONFIG_REGISTRY"] = settings.base_npm_registry
    return env


def release(
    site: Site,
    name: str,
    component: str,
    wheels: Sequence[releases.Wheel] = (),
    parts: Sequence[str] = (),
    lock: str | None = None,
    further: Sequence[str] | None = None,
) -> None:
    """Build the release of a component from its lock, and those of its parts.

    + lock: the name of the lock where it is another than the component's.
    + further: as `releases.current` has it.
    """
    settings = site[PythonSettings]
    releases.current(
        name=name,
        component=component,
        lock_text=releases.lock(lock or component, *parts),
        python=settings.python_interpreter,
        wheels=wheels,
        keep=settings.python_keep_releases,
        env=build_env(site),
        further=further,
    )
