"""A virtual machine with Debian's kernel: for what the kernel of this machine may not have.

It is emulated, so that it runs where there is no KVM. Its root is the lab's base image, in memory.
"""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from lab import image
from lab.state import CACHE

#: What no test of ours reads, and what systemd starts for the sake of real machines
NEEDLESS = re.compile(
    r"usr/(share|lib/python3/dist-packages)/|var/(cache|lib)/"
    r"|usr/lib/systemd/system/(sysinit|local-fs|multi-user).target.wants/"
)


def kernel(progress: Callable[[str], None] = print) -> Path:
    """Debian's kernel for virtual machines, unpacked: what apt on this machine has."""
    command = ["apt-cache", "depends", "linux-image-cloud-amd64"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Depends: (linux-image-\S+-cloud-amd64)$", known, re.MULTILINE)
    assert found, f"apt knows no kernel for virtual machines: {known}"
    directory = CACHE / found[1]
    if not directory.exists():
        progress(f"downloading {found[1]} (once)")
        new = directory.with_name(f".{found[1]}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        subprocess.run(["apt-get", "-q", "download", found[1]], cwd=new, check=True)
        (package,) = new.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", package, new], check=True)
        package.unlink()
        new.rename(directory)
    return directory


def modules(kernel: Path, names: list[str]) -> Iterator[bytes]:
    """Modules of the kernel, each after those that it needs."""
    done: set[str] = set()

    def with_needs(name: str) -> Iterator[bytes]:
        if name in done:
            return
        done.add(name)
        found = [*kernel.rglob(f"{name.replace('-', '_')}.ko*"), *kernel.rglob(f"{name}.ko*")]
        if not found:
            # built in
            return
        text = found[0].read_bytes()
        text = lzma.decompress(text) if found[0].suffix == ".xz" else text
        needs = re.search(rb"\0depends=([^\0]*)\0", text)
        for need in needs[1].decode().split(",") if needs else []:
            yield from with_needs(need)
        yield text

    for name in names:
        yield from with_needs(name)


class Archive:
    """An initramfs as it is written (Documentation/driver-api/early-userspace, buffer-format)."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.count = 0

    def add(self, path: str, mode: int, data: bytes = b"", uid: int = 0, gid: int = 0) -> None:
        """A file, directory or link; `mode` has its type (inode(7))."""
        self.count += 1
        name = path.encode() + b"\0"
        fields = [self.count, mode, uid, gid, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        self._padded(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        self._padded(data)

    def _padded(self, data: bytes) -> None:
        self.file.write(data + bytes(-len(data) % 4))

    def add_image(self, archive: Path) -> None:
        """All of a base image that a machine without a network needs."""
        kinds = {tarfile.DIRTYPE: 0o040000, tarfile.SYMTYPE: 0o120000}
        with tarfile.open(archive) as tar:
            for member in tar:
                path = member.name.removeprefix("./")
                if NEEDLESS.match(path) or member.isdev():
                    continue
                # a hard link becomes a file of its own
                content = tar.extractfile(member) if member.isfile() or member.islnk() else None
                data = content.read() if content else member.linkname.encode()
                mode = kinds.get(member.type, 0o100000) | member.mode
                self.add(path, mode, data, member.uid, member.gid)


def initramfs(path: Path, suite: str, added: Mapping[str, tuple[int, bytes]]) -> None:
    """The root of a machine: a base image and what is added by path, each with its mode."""
    with path.open("wb") as file:
        archive = Archive(file)
        archive.add_image(image.ensure(suite, print))
        for name, (mode, data) in added.items():
            for parent in [*Path(name).parents][-2::-1]:
                archive.add(str(parent), 0o040755)
            archive.add(name, 0o100000 | mode, data)
        archive.add("TRAILER!!!", 0)


def boot(kernel: Path, root: Path, disks: list[Path], console: Path, append: str) -> None:
    """Run a machine until it goes off, or for five minutes; what it says is in `console` then."""
    (bzimage,) = (kernel / "boot").glob("vmlinuz-*")
    # whatever becomes of the tests
    command = ["timeout", "--kill-after=5", "300"]
    command += ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-no-reboot"]
    command += ["-nodefaults", "-display", "none", "-nic", "none", "-serial", f"file:{console}"]
    for disk in disks:
        command += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    command += ["-kernel", str(bzimage), "-initrd", str(root)]
    command += ["-append", f"console=ttyS0 panic=-1 quiet mitigations=off {append}"]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
