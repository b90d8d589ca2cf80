"""Base images: a minimal Debian in a tarball, built once and unpacked for each host."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lab import pool
from lab.state import CACHE, LabError

SUITES = ("trixie", "bookworm")
PACKAGES = "systemd,systemd-sysv,libpam-systemd,dbus,openssh-server,python3,sudo,iproute2"
# What mmdebstrap copies from this machine, or makes once, and each host must have of its own.
FORGET = "rm -f {root}/etc/ssh/ssh_host_* {root}/etc/hostname {root}/etc/resolv.conf"


def mirrors(index_targets: str) -> tuple[str, str]:
    """The mirrors of Debian and of its security updates among `URI LABEL` lines.

    As plain http, which a host without any CA certificate can use: apt checks signatures itself.
    """
    found: dict[str, str] = {}
    for line in index_targets.splitlines():
        uri, _, label = line.partition(" ")
        if uri.startswith(("http://", "https://")):
            found.setdefault(label, uri.rstrip("/").replace("https://", "http://", 1))
    try:
        return found["Debian"], found["Debian-Security"]
    except KeyError:
        raise LabError(
            "apt on this machine knows no mirror of Debian and of its security updates, which the "
            "lab's hosts use too. Have both in /etc/apt/sources.list.d and run: apt-get update"
        ) from None


def sources(suite: str) -> list[str]:
    """Complete apt sources, through the mirrors that this machine uses."""
    main, security = mirrors(_index_targets())
    return [
        f"deb {main} {suite} main",
        f"deb {main} {suite}-updates main",
        f"deb {security} {suite}-security main",
    ]


@cache
def _index_targets() -> str:
    command = ["apt-get", "indextargets", "Created-By: Packages"]
    command += ["--format", "$(REPO_URI) $(LABEL)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def archive(suite: str) -> Path:
    """Where the base image of a suite is, or will be: its name changes with its recipe."""
    arch = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    recipe = "\n".join([PACKAGES, FORGET, *sources(suite)])
    version = hashlib.sha256(recipe.encode()).hexdigest()[:10]
    return CACHE / f"debian-{suite}-{arch}-{version}.tar"


def ensure(suite: str, progress: Callable[[str], None]) -> Path:
    """Build the base image unless it is there. It takes most of a minute."""
    path = archive(suite)
    if path.exists():
        return path
    progress(f"building the base image of {suite} (once, about a minute)")
    CACHE.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.tar")
    hook = FORGET.format(root='"$1"')
    command = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}"]
    command += [f"--customize-hook={hook}", suite, str(new), *sources(suite)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            tail = "\n".join(done.stderr.splitlines()[-8:])
            raise LabError(f"mmdebstrap cannot build the base image of {suite}:\n{tail}")
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)
    return path


def unpack(archive: str, disk: Path) -> None:
    """A fresh disk from the base image, whole or not at all."""
    unpacked = pool.directory() / "images" / Path(archive).stem
    if not unpacked.exists():
        new = unpacked.with_name(f"{unpacked.name}.new")
        pool.create(new)
        (new / "root").mkdir()
        command = ["tar", "-x", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
        subprocess.run([*command, "-f", archive, "-C", str(new / "root")], check=True)
        new.rename(unpacked)
    pool.copy(unpacked, disk)
