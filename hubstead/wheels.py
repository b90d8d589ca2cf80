"""Our own package for the hosts, built into a wheel on the control machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from pyinfra.api.exceptions import PyinfraError

from hubstead.operations.releases import Wheel

PROJECT = Path(__file__).parents[1]
SOURCES = PROJECT / "services" / "userdb"
CACHE = PROJECT / ".build"


def _identity() -> str:
    digest = hashlib.sha256()
    sources = [SOURCES / "pyproject.toml", *sorted((SOURCES / "src").rglob("*"))]
    for path in sources:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"\0{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def userdb() -> Wheel:
    """The wheel of services/userdb, built when its sources changed.

    Raises PyinfraError with the build's output when it cannot be built.
    """
    identity = _identity()
    directory = CACHE / f"userdb-{identity}"
    if not directory.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            build = subprocess.run(
                [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--no-cache",
                 "--out-dir", temporary, SOURCES],
                env={**os.environ, "UV_SYSTEM_CERTS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )  # fmt: skip
            if build.returncode:
                raise PyinfraError(f"services/userdb cannot be built:\n{build.stderr}")
            for path in Path(temporary).glob(".git*"):
                path.unlink()
            # another run may have been quicker
            if not directory.exists():
                Path(temporary).rename(directory)
                Path(temporary).mkdir()
    (wheel,) = directory.glob("*.whl")
    return Wheel(wheel, identity)
