"""Application: what people find behind the service's address."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hubstead.settings.model import Settings


class ApplicationSettings(Settings):
    """What people get."""

    prefixes = ("application_",)
    everywhere = ("application",)

    application: Literal["jupyterhub", "jupyterlab"] = Field(
        "jupyterhub",
        description="What people get. jupyterhub: a server each; jupyterlab: one JupyterLab that "
        "they share, behind a login.",
    )
