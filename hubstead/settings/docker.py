"""Settings of the engine, its network and the image of the users' servers."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator

from hubstead.settings.base import check_package_names
from hubstead.settings.model import Settings
from hubstead.texts import is_image, is_pinned


class DockerSettings(Settings):
    """The engine, its network and the image of the users' servers."""

    prefixes = ("docker_",)

    docker_bridge: str = Field(
        "hubstead0",
        pattern=r"^[a-z][a-z0-9]{0,14}$",
        description="Name of the network interface of the users' network; Docker makes it.",
    )
    docker_subnet: ipaddress.IPv4Network = Field(
        ipaddress.IPv4Network("172.30.0.0/16"),
        description="Addresses of the users' servers; no other network of yours may use them.",
    )
    docker_base_image: str | None = Field(
        None,
        description="Image that the users' image is built from: a Debian with apt. By default "
        "debian:CODENAME-slim of the host's own release.",
    )
    docker_base_archives: dict[str, Path] = Field(
        {},
        description="Where hosts reach no image registry: tar files on the control machine with "
        "the root file system of a minimal Debian, by codename; imported as the base image.",
    )
    docker_image_packages: list[str] = Field(
        [], description="Further Debian packages in the users' image."
    )
    docker_image_requirements: list[str] = Field(
        [], description='Further Python packages in it, pinned, such as "numpy==2.4.1".'
    )
    docker_image_refresh: bool = Field(
        True,
        description="Look twice a day, after 6:00 and 18:00, whether Debian has updates for what "
        "is in the users' image, and then build it anew: servers get it at their next start.",
    )
    docker_image_keep: int = Field(2, ge=1, description="How many built images stay on the host.")
    docker_log_size: int = Field(
        10, ge=1, description="MiB of log that a person's server keeps, in each of 3 files."
    )

    @field_validator("docker_subnet")
    @classmethod
    def _roomy(cls, value: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
        if value.prefixlen > 28:
            raise ValueError("too small: /28 is the smallest network that makes sense here")
        return value

    @field_validator("docker_base_archives")
    @classmethod
    def _archives(cls, value: dict[str, Path]) -> dict[str, Path]:
        for path in value.values():
            if not path.is_file():
                raise ValueError(f"{path} is not a file on this machine")
        return value

    @field_validator("docker_image_packages")
    @classmethod
    def _package_names(cls, value: list[str]) -> list[str]:
        return check_package_names(value)

    @field_validator("docker_image_requirements")
    @classmethod
    def _pinned(cls, value: list[str]) -> list[str]:
        for requirement in value:
            if not is_pinned(requirement):
                raise ValueError(f'{requirement!r} is not pinned; write "NAME==VERSION"')
        return value

    @field_validator("docker_base_image")
    @classmethod
    def _image(cls, value: str | None) -> str | None:
        if value is not None and not is_image(value):
            raise ValueError("not an image such as registry.example.org/debian:13-slim")
        return value

    @property
    def gateway(self) -> ipaddress.IPv4Address:
        """The host's own address on the users' network."""
        return self.docker_subnet.network_address + 1
