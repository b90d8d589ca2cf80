"""Docker: the engine, the network of the users' servers, and their image, built on the host."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator
from pyinfra import logger
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead.operations import docker, files, packages, releases, units
from hubstead.operations.addresses import Interface, Interfaces
from hubstead.programs import program
from hubstead.progress import summarise
from hubstead.render import render
from hubstead.roles.base import BaseSettings, check_package_names, distribution, machine
from hubstead.settings import Settings, load
from hubstead.texts import is_image, is_pinned

NETWORK = "hubstead"
IMAGE = "hubstead/singleuser"
BASE = "hubstead/base"
#: The build context of the users' image
CONTEXT = "/opt/hubstead/singleuser"
UNIT = "hubstead-users-image"
_SERVICE, _TIMER = (f"/etc/systemd/system/{UNIT}.{suffix}" for suffix in ("service", "timer"))


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
        10, ge=1, description="MiB of log that a container keeps, in each of 3 files."
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


def context() -> dict[str, files.File]:
    """The build context of the users' image on the host at hand."""
    settings, base = load(DockerSettings), load(BaseSettings)
    codename = machine().codename
    archive = settings.docker_base_archives.get(codename)
    imported = f"{BASE}:{docker.archive_tag(archive)}" if archive else None
    dockerfile = render(
        "docker",
        f"{CONTEXT}/Dockerfile",
        image=settings.docker_base_image or imported or distribution().base_image,
        packages=settings.docker_image_packages,
        base=base,
        codename=codename,
    )
    certificates = {
        f"certificates/{path.stem}.crt": files.File(path.read_bytes())
        for path in base.base_ca_certificates
    }
    return {
        "Dockerfile": files.File(dockerfile),
        "requirements.txt": files.File(releases.lock("singleuser")),
        "extra-requirements.txt": files.File(
            "".join(f"{line}\n" for line in settings.docker_image_requirements)
        ),
        "uv.txt": files.File(releases.lock("uv")),
        "certificates/README": files.File("Certificate authorities of the organisation.\n"),
        **certificates,
    }


def image() -> str:
    """The users' image on the host at hand, as REPOSITORY:TAG."""
    return f"{IMAGE}:{docker.context_tag(context())}"


def _refuse_others_interfaces(settings: DockerSettings) -> None:
    """Raises PyinfraError where the users' network would meet an interface of somebody else."""
    state = host.get_fact(docker.Network, NETWORK)

    def is_ours(interface: Interface) -> bool:
        if (
            state
        ):  # perhaps by its former name, which another `docker_bridge` takes away in this run
            return interface.name == state.options.get(docker.BRIDGE_NAME)
        # while Docker is down, and its bridges stay
        at_home = interface.bridge and settings.gateway in interface.addresses
        return at_home and interface.name == settings.docker_bridge

    for interface in host.get_fact(Interfaces):
        if is_ours(interface):
            continue
        if interface.name == settings.docker_bridge:
            raise PyinfraError(
                f"{host.name} has an interface {interface.name} that is not the users' network's: "
                "set `docker_bridge` to a name that no interface has."
            )
        for address in interface.addresses:
            if address in settings.docker_subnet:
                raise PyinfraError(
                    f"{host.name} has the address {address} ({interface.name}), which lies in "
                    f"`docker_subnet` = {settings.docker_subnet}: set `docker_subnet` to a network "
                    "that you do not use."
                )


@deploy("docker")
def install() -> None:
    settings = load(DockerSettings)
    _refuse_others_interfaces(settings)
    daemon = "/etc/docker/daemon.json"
    files.present(
        name="Write the engine's settings",
        entries={
            "/etc/docker": files.Directory(),
            daemon: files.File(
                render("docker", daemon, log_size=settings.docker_log_size),
            ),
        },
    )
    packages.installed(name="Install Docker", packages=distribution().docker.packages)
    units.running(name="Run Docker", unit=distribution().docker.unit, inputs=[daemon])
    docker.network(
        name="Create the users' network",
        network=NETWORK,
        subnet=str(settings.docker_subnet),
        options={
            docker.BRIDGE_NAME: settings.docker_bridge,
            # containers on one bridge see each other unless this is off
            "com.docker.network.bridge.enable_icc": "false",
        },
    )


@deploy("singleuser")
def singleuser() -> None:
    settings = load(DockerSettings)
    archive = settings.docker_base_archives.get(machine().codename)
    if archive and not settings.docker_base_image:
        docker.imported(name="Import the base image", repository=BASE, archive=archive)
    files.present(
        name="Write what builds the users' image",
        entries={
            "/usr/local/lib/hubstead": files.Directory(),
            docker.PROGRAM: files.File(program("users_image.py"), mode="755"),
        },
    )
    build = context()
    docker.built(
        name="Build the image of the users' servers",
        repository=IMAGE,
        tag=docker.context_tag(build),
        directory=CONTEXT,
        context=build,
        keep=settings.docker_image_keep,
    )
    if settings.docker_image_refresh:
        _refresh()
    else:
        units.stopped(name="Stop looking for updates of it", unit=f"{UNIT}.timer")
        files.present(name="Remove the timer", entries={_SERVICE: None, _TIMER: None})


def _refresh() -> None:
    files.present(
        name="Write what looks for updates of it",
        entries={
            _SERVICE: files.File(
                render("docker", _SERVICE, program=docker.PROGRAM, directory=CONTEXT)
            ),
            _TIMER: files.File(render("docker", _TIMER)),
        },
    )
    units.running(name="Look for updates of it twice a day", unit=f"{UNIT}.timer")
    if host.get_fact(units.Unit, f"{UNIT}.service", [], []).failed:
        logger.warning(
            f"{host.name}: the users' image could not be brought up to date. Servers start from it "
            f"as it is, and the timer tries again; journalctl -u {UNIT} has the reason."
        )
    summarise(
        "Users' image: built anew when Debian has updates for it; a server gets it at its next "
        f"start. See systemctl list-timers {UNIT}.timer on {host.name}"
    )
