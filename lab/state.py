"""What the lab remembers: one record a host for this machine, and .lab/ for the project."""

import fcntl
import json
import os
import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

STATE = Path(os.environ.get("HUBSTEAD_LAB_STATE", "/var/lib/hubstead-lab"))
CACHE = Path(os.environ.get("HUBSTEAD_LAB_CACHE", "/var/cache/hubstead-lab"))
LOCK = Path("/run/hubstead-lab.lock")
CERTIFICATES = Path("/usr/local/share/ca-certificates")
USER = "deploy"


class LabError(Exception):
    """Something that the person at the keyboard can mend; the message says how."""


@dataclass(frozen=True)
class Record:
    """A host that is up, or cut: what it is, where it is, and whose it is."""

    name: str
    number: int
    os: str
    memory: int | None
    addresses: tuple[str, ...]
    inventory: str
    project: str
    image: str = ""  # the archive that its root was unpacked from
    names: tuple[str, ...] = ()
    helper: str | None = None

    @property
    def address(self) -> str:
        return f"198.18.0.{self.number}"

    @property
    def address6(self) -> str:
        return f"2001:2::{self.number}"

    @property
    def machine(self) -> str:
        """The container's name, from which systemd-nspawn makes the interface's (15 letters)."""
        return f"hubstead{self.number}"

    @property
    def interface(self) -> str:
        return f"vb-{self.machine}"

    @property
    def directory(self) -> Path:
        return STATE / "hosts" / self.machine

    @property
    def disk(self) -> Path:
        """What a snapshot copies."""
        return STATE / "pool/hosts" / self.machine

    @property
    def root(self) -> Path:
        """The host's root file system."""
        return self.disk / "root"

    @property
    def authority(self) -> Path:
        """The certificate authority of a helper's API: what is deployed to the lab trusts it."""
        return self.directory / f"{self.name}.pem"

    @property
    def acme(self) -> str:
        """The URL of a helper's directory, which ACME clients are given (RFC 8555, 7.1.1)."""
        return f"https://{self.name}:14000/dir"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    def save(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        write(self.directory / "host.json", json.dumps(asdict(self), indent=2) + "\n")


def records() -> list[Record]:
    """Every lab host of this machine, of all checkouts, in the order of their addresses."""
    return [record for record, directory in _found() if record.directory == directory]


def older() -> list[Record]:
    """Hosts that an older lab, which had its directories elsewhere, booted on this machine."""
    return [record for record, directory in _found() if record.directory != directory]


def _found() -> list[tuple[Record, Path]]:
    found = []
    for path in STATE.glob("hosts/*/host.json"):
        data = json.loads(path.read_text())
        tuples = {key: tuple(data.get(key, ())) for key in ("addresses", "names")}
        found.append((Record(**{**data, **tuples}), path.parent))
    return sorted(found, key=lambda pair: pair[0].number)


def forget() -> None:
    """Remove the state directory of a machine without lab hosts."""
    for directory in (STATE / "hosts", STATE):
        with suppress(OSError):  # somebody keeps other things there
            directory.rmdir()


def free_number(name: str, taken: Iterable[int]) -> int:
    """A free last part of an address; 1 is this machine, 2 to 9 are for people.

    The same name gets the same one where that is free: several hosts know each other's addresses,
    and a snapshot of them is good for the same addresses only.
    """
    used = set(taken)
    first = zlib.crc32(name.encode()) % 245
    for step in range(245):
        number = 10 + (first + step) % 245
        if number not in used:
            return number
    raise LabError("All 245 addresses of the lab are taken. Remove hosts with: python -m lab down")


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file as a whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    new.chmod(mode)
    new.rename(path)


@contextmanager
def locked(progress: Callable[[str], None]) -> Iterator[None]:
    """One lab command at a time on this machine."""
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another lab command")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def alone_with(what: str) -> Iterator[None]:
    """One process at a time on this machine makes a thing; the others wait, and find it made."""
    with LOCK.with_suffix(".things").open("w") as file:
        # one byte of the file a thing
        fcntl.lockf(file, fcntl.LOCK_EX, 1, zlib.crc32(what.encode()))
        yield


def ensure_key(directory: Path) -> str:
    """The public half of the project's SSH key for lab hosts, made once."""
    directory.mkdir(mode=0o700, exist_ok=True)
    key = directory / "id_ed25519"
    if not key.exists():
        new_key(key, f"{USER}@lab")
    return key.with_suffix(".pub").read_text()


def new_key(path: Path, comment: str) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def ssh_config(hosts: Iterable[Record], directory: Path) -> str:
    """One stanza a host. Quoted: the project's path may have spaces."""
    return "\n".join(
        f"""\
Host {host.name}
    HostName {host.address}
    User {USER}
    IdentityFile "{directory}/id_ed25519"
    IdentitiesOnly yes
    UserKnownHostsFile "{directory}/known_hosts"
    StrictHostKeyChecking yes
"""
        for host in hosts
    )


def known_hosts(keys: dict[Record, str]) -> str:
    """Host keys by name and address: OpenSSH and paramiko look up what they connect to."""
    return "".join(
        f"{host.name},{host.address} {' '.join(key.split()[:2])}\n" for host, key in keys.items()
    )


def group_data(
    directory: Path, certificates: list[Path], archives: dict[str, str], acme: str | None
) -> str:
    """What a deploy cannot know of a lab, as pyinfra group data."""
    data = f'''\
"""Written by the lab: what a deploy to its hosts needs beside the inventory."""

ssh_config_file = {str(directory / "ssh_config")!r}
ssh_strict_host_key_checking = "yes"
base_ca_certificates = {[str(path) for path in certificates]!r}
docker_base_archives = {archives!r}
'''
    return data + (f"tls_acme_directory = {acme!r}\n" if acme else "")


def authorities(hosts: Iterable[Record]) -> list[Path]:
    """PEM files of what the project's hosts are told to trust."""
    helpers = [host.authority for host in hosts if host.helper]
    return [*sorted(CERTIFICATES.glob("*.crt")), *helpers]


def describe(directory: Path, keys: dict[Record, str], archives: dict[str, str]) -> None:
    """Write what ssh, pyinfra and tests need to know of the project's hosts, into .lab."""
    (directory / "group_data").mkdir(exist_ok=True)
    addresses = {host.name: host.address for host in keys}
    certificates = authorities(keys)
    acme = next((host.acme for host in keys if host.helper), None)
    write(directory / "ssh_config", ssh_config(keys, directory))
    write(directory / "known_hosts", known_hosts(keys))
    write(directory / "hosts.json", json.dumps(addresses, indent=2) + "\n")
    write(directory / "group_data/all.py", group_data(directory, certificates, archives, acme))


def hosts_file(current: str, own: Record, others: Iterable[Record]) -> str:
    """An /etc/hosts with the lab's block renewed, and everything else as it was."""
    first, last = "# lab hosts, kept by the lab\n", "# end of the lab hosts\n"
    lines = [" ".join([own.address, own.name, own.name.split(".")[0], *own.names])]
    lines += [" ".join([h.address, h.name, *h.names]) for h in others if h.name != own.name]
    block = first + "".join(f"{line}\n" for line in lines) + last
    before, found, rest = current.partition(first)
    if not found:
        return current + block
    return before + block + rest.partition(last)[2]
