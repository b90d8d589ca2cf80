"""Settings of the users' servers as units of systemd: their network and their environment."""

from __future__ import annotations

import ipaddress

from pydantic import Field, field_validator

from hubstead.settings.base import check_package_names
from hubstead.settings.model import Settings
from hubstead.texts import is_pinned


class SystemdSettings(Settings):
    """The users' servers as units of systemd: their network and their environment."""

    prefixes = ("systemd_",)

    systemd_bridge: str = Field(
        "hubstead1",
        pattern=r"^[a-z][a-z0-9]{0,14}$",
        description="Name of the network interface of the users' network; a run makes it.",
    )
    systemd_subnet: ipaddress.IPv4Network = Field(
        ipaddress.IPv4Network("172.29.0.0/16"),
        description="Addresses of the users' servers; no other network of yours may use them.",
    )
    systemd_packages: list[str] = Field(
        [], description="Further Debian packages of the host that servers use, such as gcc."
    )
    systemd_requirements: list[str] = Field(
        [],
        description="Further Python packages in servers, pinned, such as "
        '"numpy==2.4.1"; a server has them from its next start.',
    )

    @field_validator("systemd_subnet")
    @classmethod
    def _roomy(cls, value: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
        if value.prefixlen > 18:
            raise ValueError(
                "too small: each of 10000 people has an address that nobody else ever gets, so /18 "
                "is the smallest network"
            )
        return value

    @field_validator("systemd_packages")
    @classmethod
    def _package_names(cls, value: list[str]) -> list[str]:
        return check_package_names(value)

    @field_validator("systemd_requirements")
    @classmethod
    def _pinned(cls, value: list[str]) -> list[str]:
        for requirement in value:
            if not is_pinned(requirement):
                raise ValueError(f'{requirement!r} is not pinned; write "NAME==VERSION"')
        return value

    @property
    def gateway(self) -> ipaddress.IPv4Address:
        """The host's own address on the users' network."""
        return self.systemd_subnet.network_address + 1

    @property
    def first(self) -> ipaddress.IPv4Address:
        """The address of the first person's server."""
        return self.systemd_subnet.network_address + 16
