"""Docker networks and images. pyinfra's own operations never see a changed argument (#1561)."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pyinfra.api import (
    FactBase,
    FactProcessError,
    FileUploadCommand,
    OperationError,
    QuoteString,
    StringCommand,
    operation,
)
from pyinfra.context import host

from hubstead.operations import files

#: What keeps the users' network and image from Docker's clean-ups: a unit, and its container
HOLDER = "hubstead-holder"
#: The option of a network that names its interface
BRIDGE_NAME = "com.docker.network.bridge.name"


@dataclass(frozen=True)
class NetworkState:
    """A bridge network: its driver options, subnet, and the containers that are attached."""

    options: dict[str, str]
    subnet: str
    containers: tuple[str, ...]


def parse_network(text: str) -> NetworkState | None:
    """The state from `docker network inspect`, None where there is no such network."""
    documents: list[dict[str, Any]] = json.loads(text or "[]")
    if not documents:
        return None
    document = documents[0]
    return NetworkState(
        document["Options"] or {},
        document["IPAM"]["Config"][0]["Subnet"],
        tuple(sorted(c["Name"] for c in (document["Containers"] or {}).values())),
    )


class Network(FactBase[NetworkState | None]):
    """A Docker network; None where it, or Docker, is not there."""

    def command(self, network: str) -> StringCommand:
        return StringCommand("docker network inspect", QuoteString(network), "2>/dev/null; true")

    def process(self, output: list[str]) -> NetworkState | None:
        try:
            return parse_network("\n".join(output))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise FactProcessError(f"unreadable output of docker network: {error}") from error


def creation(network: str, subnet: str, options: Mapping[str, str]) -> str:
    """The command that makes a bridge network."""
    flags = [f"--opt={key}={value}" for key, value in sorted(options.items())]
    command = ["docker", "network", "create", "--driver=bridge", f"--subnet={subnet}", *flags]
    return f"{shlex.join([*command, network])} >/dev/null"


@operation()
def network(network: str, subnet: str, options: dict[str, str]) -> Generator[StringCommand]:
    """Ensure a bridge network of this subnet with these driver options.

    A network that differs is made anew, unless a container still uses it: that is an error which
    names the containers. Rule: docker-network-create(1).
    """
    state = host.get_fact(Network, network)
    if state is not None and (state.options, state.subnet) != (options, subnet):
        users = [container for container in state.containers if container != HOLDER]
        if users:
            raise OperationError(
                f"The Docker network {network} has other settings than asked for, and is in use "
                f"by {', '.join(users)}: stop these servers, then run again."
            )
        if state.containers:
            # it would make the former network again
            yield StringCommand("systemctl stop", f"{HOLDER}.service")
        yield StringCommand("docker network rm", QuoteString(network), ">/dev/null")
        state = None
    if state is None:
        yield StringCommand(creation(network, subnet, options))


# What is ours by its name. A container of the owner's on the network keeps that, by an error.
_OURS = r"""
network=$1
shift
docker container ls --all --quiet --no-trunc --filter "name=^$network-" | sed 's/^/container /'
docker network ls --quiet --no-trunc --filter "name=^$network\$" | sed 's/^/network /'
for repository; do
    docker image ls --format '{{.Repository}}:{{.Tag}}' "$repository" | sed 's/^/image /'
done
"""


class Ours(FactBase[list[str]]):
    """Containers, networks and images of people's servers, as the words `KIND NAME`, in the order
    in which they can go; none where Docker does not answer.
    """

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, network: str, repositories: list[str]) -> StringCommand:
        quoted = [QuoteString(each) for each in (network, *repositories)]
        return StringCommand("sh -c", QuoteString(_OURS), "sh", *quoted, "2>/dev/null || true")

    def process(self, output: list[str]) -> list[str]:
        return list(output)


@operation()
def absent(network: str, repositories: Sequence[str]) -> Generator[StringCommand]:
    """Ensure that no container of people's servers runs or is left, nor their network and images.

    Volumes stay. Rule: docker-container-rm(1), docker-network-rm(1), docker-image-rm(1).
    """
    for line in host.get_fact(Ours, network, list(repositories)):
        kind, _, name = line.partition(" ")
        remove = "rm --force" if kind == "container" else "rm"
        yield StringCommand("docker", kind, remove, QuoteString(name), ">/dev/null")


@dataclass(frozen=True)
class ImagesState:
    """Tags of one repository, newest image first; the images that containers were made from, and
    the one that only what holds an image has.
    """

    tags: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    held: str | None = None


def parse_images(lines: Iterable[str]) -> ImagesState:
    """The state from the lines that the command of `Images` prints."""
    values: dict[str, list[str]] = {"tag": [], "used": []}
    for line in lines:
        kind, _, value = line.partition(" ")
        values[kind].append(value)
    tags = tuple(tag for tag in values["tag"] if tag != "<none>")
    containers = dict(line.split(" ") for line in values["used"])
    held = containers.pop(HOLDER, None)
    return ImagesState(tags, frozenset(containers.values()), held)


class Images(FactBase[ImagesState]):
    """The tags of a repository on the host; none where Docker does not answer."""

    @staticmethod
    def default() -> ImagesState:
        return ImagesState()

    def command(self, repository: str) -> StringCommand:
        return StringCommand(
            "docker image ls --format 'tag {{.Tag}}'", QuoteString(repository), "2>/dev/null;",
            "docker container ls --all --format 'used {{.Names}} {{.Image}}' 2>/dev/null; true",
        )  # fmt: skip

    def process(self, output: list[str]) -> ImagesState:
        try:
            return parse_images(output)
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"unreadable output of docker: {error}") from error


@cache
def _digest(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def archive_tag(archive: Path) -> str:
    """The tag of the image that is imported from an archive: a digest of its content."""
    return _digest(archive)[:12]


@operation()
def imported(repository: str, archive: Path) -> Generator[StringCommand | FileUploadCommand]:
    """Ensure that the root file system in `archive` (a tar file here) is an image on the host."""
    digest = _digest(archive)
    tag = digest[:12]
    if tag in host.get_fact(Images, repository).tags:
        return
    upload = f"/var/lib/hubstead/{tag}.tar"
    yield FileUploadCommand(str(archive), upload, f"/tmp/hubstead-{tag}.tar")
    # it came through /tmp, where others of the host may have put a file of theirs in its place
    yield StringCommand(
        "echo", QuoteString(f"{digest}  {upload}"), "| sha256sum --check --quiet &&",
        "docker import", QuoteString(upload), QuoteString(f"{repository}:{tag}"), ">/dev/null;",
        "status=$?; rm -f", QuoteString(upload), "; exit $status",
    )  # fmt: skip


class Present(FactBase[frozenset[str]]):
    """Which of some images are on the host, by the names asked for; none where Docker is away."""

    @staticmethod
    def default() -> frozenset[str]:
        return frozenset()

    def command(self, images: list[str]) -> StringCommand:
        look = 'for image; do docker image inspect --format ok "$image" >/dev/null 2>&1'
        script = f'{look} && echo "$image"; done; true'
        return StringCommand("sh -c", QuoteString(script), "sh", *map(QuoteString, images))

    def process(self, output: list[str]) -> frozenset[str]:
        return frozenset(output)


@operation()
def pulled(images: Sequence[str]) -> Generator[StringCommand]:
    """Ensure that images are on the host; what is there stays as it is. Rule: docker-pull(1)."""
    there = host.get_fact(Present, list(images))
    for image in images:
        if image not in there:
            yield StringCommand("docker pull --quiet", QuoteString(image), ">/dev/null")


def context_tag(context: Mapping[str, files.File]) -> str:
    """The tag of the image that a build context makes: a digest of its files."""
    digest = hashlib.sha256()
    for path in sorted(context):
        digest.update(f"\0{path}\0".encode() + context[path].data)
    return digest.hexdigest()[:12]


#: Builds the image and refreshes it; a timer runs it as well
PROGRAM = "/usr/local/lib/hubstead/users-image"


@operation()
def built(
    repository: str, tag: str, directory: str, context: Mapping[str, files.File], keep: int
) -> Generator[StringCommand]:
    """Ensure that the image REPOSITORY:TAG was built on the host from `context`.

    While it cannot be built, the former context stays, and what keeps its image.

    + tag: from `context_tag`, so that other inputs are another image.
    + directory: where the context lies on the host, with the image's name in its file `image`.
    + keep: how many images of the repository stay; ones that a container uses stay anyway.

    The program must be there, once the operations before this one are done.
    """
    state = host.get_fact(Images, repository)
    image = f"{repository}:{tag}"
    note = files.File(f"{image}\n")
    known = host.get_fact(files.Paths, [f"{directory}/image"]).get(f"{directory}/image")
    if known is None or known.sha256 != note.as_state().sha256:
        new, parent = f"{directory}.new", directory.rpartition("/")[0]
        # not while a run that was cut goes on building there
        remove = ("flock", QuoteString(f"{directory}.lock"), "rm -rf --", QuoteString(new))
        yield StringCommand("umask 022; mkdir -p --", QuoteString(parent), "&&", *remove)
        entries: dict[str, files.Entry] = {new: files.Directory()}
        for path, file in {**context, "image": note}.items():
            target = f"{new}/{path}"
            entries.setdefault(target.rsplit("/", 1)[0], files.Directory())
            entries[target] = file
        yield from files.present._inner(entries)
        yield StringCommand(PROGRAM, "replace", QuoteString(directory), QuoteString(image))
    elif tag not in state.tags:
        yield StringCommand(PROGRAM, "build", QuoteString(directory))
    for old in [other for other in state.tags if other != tag][keep - 1 :]:
        # Docker refuses to remove an image that has a container, also a stopped one
        if f"{repository}:{old}" not in state.used:
            if f"{repository}:{old}" == state.held:
                # its unit starts it anew, of the new image
                yield StringCommand("docker rm --force", HOLDER, ">/dev/null")
            yield StringCommand("docker image rm", QuoteString(f"{repository}:{old}"), ">/dev/null")
