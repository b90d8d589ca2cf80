"""Base: packages, time zone, certificate authorities, mirrors, security upgrades, sshd."""

from __future__ import annotations

import re
import zoneinfo
from collections import Counter
from ipaddress import ip_network
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from cryptography import x509
from pydantic import Field, field_validator
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, host

from hubstead.distributions import DISTRIBUTIONS, SUPPORTED, Distribution
from hubstead.operations import certificates, files, packages, units
from hubstead.operations.addresses import Interfaces
from hubstead.operations.firewall import Network
from hubstead.operations.login import Login
from hubstead.operations.machine import Machine, MachineState
from hubstead.render import render
from hubstead.settings import Settings, load, load_for
from hubstead.texts import URL_CHARACTERS, is_address, is_host_name, is_url
from hubstead.topology import plays

ARCHITECTURES = {"x86_64", "aarch64"}
#: MiB free on the root file system that a first deploy needs, with the users' image (3.4 GiB,
#: measured) and without, and that any run needs
HUB_DISK, HOST_DISK, LEAST_DISK = 4000, 1000, 200
#: One empty file a role that a switch of the settings may make needless
ROLES = "/var/lib/hubstead/roles"


def check_package_names(value: list[str]) -> list[str]:
    """`value`; raises ValueError for what is no Debian package's name (Debian Policy, 5.6.7)."""
    for name in value:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
            raise ValueError(f"{name!r} is not a package name such as htop (without a version)")
    return value


class BaseSettings(Settings):
    """The host itself."""

    prefixes = ("base_",)

    base_timezone: str = Field("Etc/UTC", description="Time zone, a name of the IANA database.")
    base_packages: list[str] = Field([], description="Further Debian packages for every host.")
    base_ca_certificates: list[Path] = Field(
        [],
        description="PEM files on the control machine with certificate authorities of your "
        "organisation: the host, its builds and the users' servers trust them.",
    )
    base_apt_mirror: str | None = Field(None, description="URL of a Debian mirror.")
    base_apt_security_mirror: str | None = Field(
        None, description="URL of a mirror of Debian's security updates; goes with the one above."
    )
    base_pypi_index: str | None = Field(None, description="URL of a PyPI index or mirror.")
    base_npm_registry: str | None = Field(None, description="URL of an npm registry or mirror.")
    base_security_upgrades: bool = Field(
        True, description="Install Debian's security updates every day (unattended-upgrades)."
    )
    base_ssh_passwords: bool = Field(
        False, description="Let people log in to the host over SSH with a password."
    )

    base_address: str | None = Field(
        None,
        description="Name or address under which the other hosts of the inventory reach this one; "
        "by default its name in the inventory.",
    )

    @field_validator("base_address")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        if value is not None and not is_host_name(value.lower()) and not is_address(value):
            raise ValueError("not a host name such as db.example.org, nor an address")
        return value

    @field_validator("base_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise ValueError("not a time zone of the IANA database, such as Europe/Zurich")
        return value

    @field_validator("base_packages")
    @classmethod
    def _package_names(cls, value: list[str]) -> list[str]:
        return check_package_names(value)

    @field_validator(
        "base_apt_mirror", "base_apt_security_mirror", "base_pypi_index", "base_npm_registry"
    )
    @classmethod
    def _public_url(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if "@" in urlsplit(value).netloc:
            raise ValueError("a mirror with a password would tell it to every user of the host")
        if not is_url(value, "http", "https"):
            raise ValueError(f"not a URL such as https://mirror.example.org/, {URL_CHARACTERS}")
        return value

    @field_validator("base_ca_certificates")
    @classmethod
    def _certificates(cls, value: list[Path]) -> list[Path]:
        for path in value:
            try:
                x509.load_pem_x509_certificates(path.read_bytes())
            except OSError as error:
                raise ValueError(f"cannot be read: {error}") from None
            except ValueError:
                raise ValueError(f"{path} holds no PEM certificate") from None
            if not re.fullmatch(r"[\w .()+@-]+", path.stem):
                raise ValueError(f"{path.name!r}: name it with letters, digits and . _ - alone")
        for stem, number in Counter(path.stem for path in value).items():
            if number > 1:
                raise ValueError(f"{number} files are called {stem}: one would replace the other")
        return value

    def check(self) -> None:
        if bool(self.base_apt_mirror) != bool(self.base_apt_security_mirror):
            raise ValueError(
                "`base_apt_mirror` and `base_apt_security_mirror` go together: set both or neither"
            )


def build_env() -> dict[str, str]:
    """Environment for pip, uv and npm on the host: its certificates, and the mirrors."""
    settings = load(BaseSettings)
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


#: What each host of a run is: read once, where eight roles ask
_machines: WeakKeyDictionary[Host, MachineState] = WeakKeyDictionary()


def machine() -> MachineState:
    """The host at hand, as it was when the run began.

    Raises PyinfraError for one that Hubstead cannot be deployed to.
    """
    here = cast(Host, ctx_host.get())
    if here not in _machines:
        _machines[here] = _fit_machine()
    return _machines[here]


def distribution() -> Distribution:
    """What the distribution of the host at hand calls things. Raises as `machine` does."""
    return DISTRIBUTIONS[machine().os, machine().version]


def _fit_machine() -> MachineState:
    state: MachineState = host.get_fact(Machine)
    system = f"{host.name} is {state.os} {state.version} on {state.architecture}"
    if (state.os, state.version) not in DISTRIBUTIONS:
        raise PyinfraError(
            f"{system}: Hubstead runs on {SUPPORTED}. Install one of them on this host."
        )
    if state.architecture not in ARCHITECTURES:
        raise PyinfraError(f"{system}: Hubstead runs on x86_64 and aarch64. Take another host.")
    if not state.root:
        raise PyinfraError(
            f"{host.name}: the run is not root there, and has to be. Write `_sudo = True` into "
            "group_data/all.py, in the directory that you run pyinfra in (docs/own.md)."
        )
    if not state.systemd:
        raise PyinfraError(
            f"{host.name} was booted without systemd, and Hubstead's services are systemd's. "
            "Install systemd-sysv and boot the host again, or take one that is no container."
        )
    needed = (HUB_DISK if plays("hub") else HOST_DISK) if state.bare else LEAST_DISK
    if state.free_disk < needed:
        raise PyinfraError(
            f"{host.name}: the disk is full. It has {state.free_disk} MiB free, and this run needs "
            f"{needed}. Make room, then run again."
        )
    return state


def address(of: Host) -> str:
    """The name or address under which the other hosts reach a host."""
    return load_for(BaseSettings, of).base_address or of.name


def networks(of: Host) -> list[Network]:
    """The addresses from which a host reaches the others, each as a network of one address.

    Those of bridges of its own containers and virtual machines are not among them: nothing leaves
    the host from there. A host is asked even where `--limit` leaves it out. Raises PyinfraError
    without an answer, and for a host without an address.
    """
    try:
        interfaces = of.get_fact(Interfaces)
    except ConnectError as error:
        raise PyinfraError(
            f"{of.name} does not answer, and {host.name} has to know its addresses, even in a run "
            f"with --limit: {error}. Bring it up, then run again."
        ) from error
    found = [ip_network(str(a)) for each in interfaces if each.outward for a in each.addresses]
    if not found:
        raise PyinfraError(
            f"{of.name} has no address from which it could reach {host.name}, by what `ip address` "
            "says there (package iproute2): give it one, then run again."
        )
    return found


def claim(role: str) -> None:
    """Note down that a role is on the host at hand, before anything of it is.

    The role's removal takes the note away, last of all: a run that is cut leaves it, and the next
    one finishes.
    """
    note: dict[str, files.Entry] = {
        "/var/lib/hubstead": files.Directory(),
        ROLES: files.Directory(),
        f"{ROLES}/{role}": files.File(""),
    }
    files.present(
        name="Note down that the role is here", entries={} if role in machine().roles else note
    )


def _root_login(user: str) -> str:
    return "prohibit-password" if user == "root" else "no"


@deploy("base")
def base() -> None:
    settings = load(BaseSettings)
    codename = machine().codename
    login = host.get_fact(Login, _sudo=False)
    # whoever comes in by password today must still come in tomorrow
    ssh_passwords = settings.base_ssh_passwords or not login.has_keys

    if settings.base_apt_mirror:
        files.present(
            name="Point apt at the mirror",
            entries={
                "/etc/apt/sources.list": files.File("# see sources.list.d/debian.sources\n"),
                "/etc/apt/sources.list.d/debian.sources": files.File(
                    render(
                        "base",
                        "/etc/apt/sources.list.d/debian.sources",
                        mirror=settings.base_apt_mirror,
                        security_mirror=settings.base_apt_security_mirror,
                        codename=codename,
                    )
                ),
            },
        )
    packages.installed(
        name="Install the base packages",
        packages=[
            *distribution().base_packages,
            *settings.base_packages,
        ],
    )
    files.present(
        name="Write the host's configuration",
        entries={
            "/etc/localtime": files.Link(f"/usr/share/zoneinfo/{settings.base_timezone}"),
            "/etc/timezone": files.File(f"{settings.base_timezone}\n"),
            "/etc/apt/apt.conf.d/20auto-upgrades": files.File(
                render(
                    "base",
                    "/etc/apt/apt.conf.d/20auto-upgrades",
                    enabled=int(settings.base_security_upgrades),
                )
            ),
            "/etc/hubstead": files.Directory(),
            "/opt/hubstead": files.Directory(),
            "/var/lib/hubstead": files.Directory(),
        },
    )
    certificates.trusted(
        name="Trust the organisation's certificates",
        authorities={path.stem: path.read_bytes() for path in settings.base_ca_certificates},
    )

    if login.over_ssh:
        sshd = "/etc/ssh/sshd_config.d/10-hubstead.conf"
        files.present(
            name="Write sshd's rules",
            entries={
                sshd: files.File(
                    render(
                        "base",
                        sshd,
                        passwords="yes" if ssh_passwords else "no",
                        root_login=_root_login(login.user),
                    )
                )
            },
        )
        units.running(name="Run sshd with them", unit=distribution().ssh_unit, reload_inputs=[sshd])
