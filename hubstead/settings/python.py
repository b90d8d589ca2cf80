"""Settings of Python on the hosts."""

from __future__ import annotations

from pydantic import Field

from hubstead.settings.model import Settings


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
