#!/usr/bin/python3 -I
"""Written by Hubstead: the image of the users' servers.

    users-image build DIRECTORY          make it, where it is not there
    users-image replace DIRECTORY IMAGE  make it of the context in DIRECTORY.new, which then takes
                                         the place of DIRECTORY
    users-image refresh DIRECTORY        make it anew when Debian has updates for what is in it
    users-image hold DIRECTORY NETWORK   keep it, and the users' network, from Docker's clean-ups

DIRECTORY is the build context; its file `image` has the image's name. A build that fails leaves the
image that is there as it was, and DIRECTORY. The image that a new one replaced is removed once no
container has it: until then DIRECTORY.replaced has its number.

Docker's clean-ups (docker system prune) take every image and network that no running container has:
`hold` becomes one that has both, and does nothing.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

#: MiB that a build needs beside the new image
SPARE = 500
LOG_LINES = 40
#: Have the image and the network; and the image that it is built from, where no registry has that
HOLDER, BASE_HOLDER = "hubstead-holder", "hubstead-base-holder"
#: Does nothing, and can do nothing
HOLD = (
    "run", "--rm", "--init", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
    "--user=65534:65534", "--cpus=0.1", "--memory=32m", "--pids-limit=8", "--log-driver=none",
    "--entrypoint=sleep",
)  # fmt: skip
#: As the Dockerfile upgrades: what this finds, a build installs
UPDATES = """
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
apt-get -qq -o APT::Update::Error-Mode=any update && apt-get -s --no-install-recommends full-upgrade
"""


def docker(*arguments: str, check: bool = True) -> str:
    """What docker prints. Ends the program with docker's own words when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    if done.returncode and check:
        sys.exit(f"docker {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout.strip()


def inspected(image: str, template: str) -> str:
    """A value of an image, empty where there is none. Ends the program where docker fails."""
    command = ["docker", "image", "inspect", "--format", template, image]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "no such image" not in done.stderr.lower():
        sys.exit(f"docker image inspect: {done.stderr[-2000:] or done.returncode}")
    return done.stdout.strip()


def parse_updates(text: str) -> dict[str, tuple[str, str]]:
    """Package to its old and new version, from what `apt-get -s` prints."""
    lines = re.findall(r"^Inst (\S+)(?: \[(\S+)\])? \((\S+)", text, re.MULTILINE)
    return {package: (old or "none", new) for package, old, new in lines}


def updates(image: str) -> dict[str, tuple[str, str]]:
    """What Debian has for an image, by the mirrors that the image has."""
    root = ("run", "--rm", "--user=root", "--entrypoint=/bin/sh")
    return parse_updates(docker(*root, image, "-c", UPDATES))


def cached() -> set[str]:
    """The numbers of the engine's build cache."""
    template = "{{range .BuildCache}}{{println .ID}}{{end}}"
    return set(docker("system", "df", "--verbose", "--format", template, check=False).split())


def forget(numbers: set[str]) -> None:
    """Remove these from the build cache: what others are made from goes after them."""
    while numbers:
        for number in sorted(numbers):
            docker("builder", "prune", "--force", "--all", f"--filter=id={number}", check=False)
        left = numbers & cached()
        if left == numbers:
            return
        numbers = left


def build(image: str, directory: Path, *options: str) -> None:
    """Build the image, and keep no cache of it: that would keep its files when it is gone.

    The image itself says what it was made of, for the next one to begin with (BuildKit, inline
    cache).
    """
    before = cached()
    command = ["docker", "build", "--build-arg=BUILDKIT_INLINE_CACHE=1", *options]
    command += ["--tag", image, str(directory)]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
    done = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    forget(cached() - before)
    if done.returncode:
        print(*done.stdout.splitlines()[-LOG_LINES:], sep="\n", file=sys.stderr)
        sys.exit("The users' image was not built.")


def build_from_others(image: str, directory: Path) -> None:
    """Build the image from what it has in common with those that are there."""
    repository = image.rpartition(":")[0]
    others = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository).split()
    named = (f"--cache-from={other}" for other in others if not other.endswith(":<none>"))
    build(image, directory, "--pull=false", *named)


def replace(directory: Path, image: str) -> None:
    """Have the image, and its context in DIRECTORY."""
    new, note = Path(f"{directory}.new"), directory / "image"
    if not new.exists() and note.exists() and note.read_text().strip() == image:
        # a run that was cut has gone on, and is done with it
        new = directory
    if not inspected(image, "{{.Id}}"):
        build_from_others(image, new)
    if new != directory:
        shutil.rmtree(directory, ignore_errors=True)
        new.rename(directory)


def collect(replaced: Path, image: str) -> None:
    """Remove replaced images that no container has; one that somebody gave a name is theirs."""
    left = []
    for number in replaced.read_text().split() if replaced.exists() else []:
        named = inspected(number, "{{len .RepoTags}}")
        if named == "0":
            # Docker refuses to remove an image that has a container, also a stopped one
            docker("image", "rm", number, check=False)
            named = inspected(number, "{{len .RepoTags}}")
        if named == "0" or number == inspected(image, "{{.Id}}"):
            left.append(number)
    if left:
        replaced.write_text("".join(f"{number}\n" for number in dict.fromkeys(left)))
    else:
        replaced.unlink(missing_ok=True)


def refuse_full_disk(image: str) -> None:
    """Ends the program where another such image has no room."""
    root = docker("info", "--format", "{{.DockerRootDir}}")
    free = shutil.disk_usage(root).free >> 20
    needed = (int(inspected(image, "{{.Size}}")) >> 20) + SPARE
    if free < needed:
        sys.exit(
            f"The users' image has updates and is not built: {root} has {free} MiB free, and that "
            f"needs {needed}. Make room; the image stays as it is."
        )


def base_of(directory: Path) -> str:
    """The image that the users' image is built from."""
    (base,) = re.findall(r"^FROM (\S+)", (directory / "Dockerfile").read_text(), re.MULTILINE)
    return str(base)


def is_local(base: str) -> bool:
    """Whether it was imported or built here: no registry has it."""
    return inspected(base, "{{len .RepoDigests}}") == "0"


def hold(image: str, directory: Path, network: str) -> NoReturn:
    """Become what holds the image and the network. Builds the image where it is gone."""
    if not inspected(image, "{{.Id}}"):
        build_from_others(image, directory)
    docker("rm", "--force", HOLDER, BASE_HOLDER, check=False)
    base = base_of(directory)
    if is_local(base):
        docker(*HOLD, "--detach", f"--name={BASE_HOLDER}", "--network=none", base, "infinity")
    command = ["docker", *HOLD, f"--name={HOLDER}", f"--network={network}", image, "infinity"]
    # which also lets go of the lock
    os.execvp("docker", command)


def refresh(image: str, directory: Path, replaced: Path) -> None:
    collect(replaced, image)
    if not inspected(image, "{{.Id}}"):
        print(f"There is no {image} yet: a deploy builds it.")
        return
    due = updates(image)
    if not due:
        print(f"Debian has no updates for {image}.")
        return
    print("Updates:", ", ".join(f"{package} {old} to {new}" for package, (old, new) in due.items()))
    refuse_full_disk(image)
    base = base_of(directory)
    with replaced.open("a") as file:
        print(inspected(image, "{{.Id}}"), file=file)
    build(image, directory, "--no-cache", f"--pull={'false' if is_local(base) else 'true'}")
    # its unit starts it anew, of the new image
    docker("rm", "--force", HOLDER, check=False)
    collect(replaced, image)
    print(f"{image} is built anew: servers get it at their next start.")


def main(action: str, path: str, *arguments: str) -> None:
    directory, lock, replaced = (Path(f"{path}{end}") for end in ("", ".lock", ".replaced"))
    with lock.open("a") as file:
        # a deploy and the timer, or a build that an earlier, killed run left behind
        fcntl.flock(file, fcntl.LOCK_EX)
        if action == "replace":
            replace(directory, *arguments)
            return
        image = (directory / "image").read_text().strip()
        if action == "refresh":
            refresh(image, directory, replaced)
        elif action == "hold":
            hold(image, directory, *arguments)
        elif not inspected(image, "{{.Id}}"):
            build_from_others(image, directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
