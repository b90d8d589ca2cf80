"""Settings of the host itself."""

from __future__ import annotations

import re
import zoneinfo
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from pydantic import Field, field_validator

from hubstead.settings.model import Settings
from hubstead.texts import URL_CHARACTERS, is_address, is_host_name, is_url


def check_package_names(value: list[str]) -> list[str]:
    """`value`; raises ValueError for what is no Debian package's name (Debian Policy, 5.6.7)."""
    for name in value:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
            raise ValueError(f"{name!r} is not a package name such as htop (without a version)")
    return value


class BaseSettings(Settings):
    """The host itself."""

    prefixes = ("base_",)

    base_timezone: str | None = Field(
        None,
        description="Time zone, a name of the IANA database. By default the host keeps its own.",
    )
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
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None and value not in zoneinfo.available_timezones():
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
