"""Removal of the service from its hosts (hubstead.removal)."""

from __future__ import annotations

from pydantic import Field

from hubstead.settings.model import Settings


class RemovalSettings(Settings):
    """The word that deploys/remove.py asks for, on the command line (remove.md)."""

    prefixes = ("remove_",)

    remove_service: str | None = Field(
        None, description="The name of the service that deploys/remove.py may remove."
    )
