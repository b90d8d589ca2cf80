"""Application: what people find behind the service's address."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hubstead.settings import Settings, load
from hubstead.topology import plays


class ApplicationSettings(Settings):
    """What people get."""

    prefixes = ("application_",)
    everywhere = ("application",)

    application: Literal["jupyterhub", "jupyterlab"] = Field(
        "jupyterhub",
        description="What people get. jupyterhub: a server each; jupyterlab: one JupyterLab that "
        "they share, behind a login.",
    )


def application() -> str:
    """What the settings want: jupyterhub or jupyterlab."""
    return load(ApplicationSettings).application


def serves(wanted: str) -> bool:
    """Whether the host at hand is to serve people by `wanted`: jupyterhub or jupyterlab."""
    return plays("hub") and application() == wanted
