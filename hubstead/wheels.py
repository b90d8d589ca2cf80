"""Our own packages for the hosts: those in services/, each built into a wheel on this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from pathlib import Path

from pyinfra.api.exceptions import PyinfraError

from hubstead.operations.releases import Wheel

PROJECT = Path(__file__).parents[1]
SERVICES = PROJECT / "services"
CACHE = PROJECT / ".build"
#: What builds them, with hashes
BUILD_LOCK = PROJECT / "locks/build.txt"
_OURS = "hubstead-"


def of(service: str) -> list[Wheel]:
    """The wheels of a service: those of ours that its pyproject.toml names, then its own.

    An edit changes the releases with that very wheel in them, and restarts what runs from these.
    """
    sources = SERVICES / service
    project = tomllib.loads((sources / "pyproject.toml").read_text())["project"]
    needs = [name.removeprefix(_OURS) for name in project["dependencies"] if name.startswith(_OURS)]
    return [*(wheel for need in needs for wheel in of(need)), built(sources)]


def identity(sources: Path) -> str:
    """A digest of the files that the wheel is built from."""
    digest = hashlib.sha256()
    for path in [sources / "pyproject.toml", *sorted((sources / "src").rglob("*"))]:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"\0{path.relative_to(sources)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def built(sources: Path) -> Wheel:
    """The wheel of a directory in services/, built when its sources changed.

    Raises PyinfraError with the build's output when it cannot be built.
    """
    digest = identity(sources)
    directory = CACHE / f"{sources.name}-{digest}"
    if not directory.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            build = subprocess.run(
                [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--no-cache",
                 "--require-hashes", "--build-constraints", BUILD_LOCK,
                 "--out-dir", temporary, sources],
                env={**os.environ, "UV_SYSTEM_CERTS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )  # fmt: skip
            if build.returncode:
                raise PyinfraError(f"services/{sources.name} cannot be built:\n{build.stderr}")
            for path in Path(temporary).glob(".git*"):
                path.unlink()
            # another run may have been quicker
            if not directory.exists():
                Path(temporary).rename(directory)
                Path(temporary).mkdir()
    (wheel,) = directory.glob("*.whl")
    return Wheel(wheel, digest)
