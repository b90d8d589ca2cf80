#!/usr/bin/python3 -I
"""Written by Hubstead: ends people's servers that Docker has lost.

    stray-servers SLICE

Where Docker and containerd end at one moment (killed, out of memory), Docker 26 takes containers
for gone whose processes go on, and gives their addresses to others: who comes to the next server at
such an address reaches the lost one, with whatever the browser sends. So what runs in SLICE as a
container that Docker does not have, or has as one that has ended, is killed. Docker itself still
has the network of such a one open, and is started anew; other containers live on (live-restore).
"""

import re
import subprocess
import sys

ENDED = {"dead", "exited"}


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def parse_scopes(text: str, slice_: str) -> set[str]:
    """The containers that run in a slice, from what `systemctl show` prints of scopes."""
    found = set()
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines())
        container = re.fullmatch(r"docker-([0-9a-f]{64})\.scope", values.get("Id", ""))
        if container and (values["Slice"], values["ActiveState"]) == (slice_, "active"):
            found.add(container[1])
    return found


def running(slice_: str) -> set[str]:
    """By systemd, in whose cgroups they are."""
    show = ("systemctl", "show", "--property=Id,Slice,ActiveState", "docker-*.scope")
    return parse_scopes(output(*show), slice_)


def known() -> set[str]:
    """By Docker, from before they run until they have ended."""
    listed = output("docker", "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.State}}")
    states = dict(line.split() for line in listed.splitlines())
    return {container for container, state in states.items() if state not in ENDED}


def main(slice_: str) -> None:
    before, having = running(slice_), known()
    # one that ends by itself is in neither
    lost = (before - having) & running(slice_)
    for container in sorted(lost):
        print(f"Docker has lost {container[:12]}, which runs on: killed")
        output("systemctl", "kill", "--signal=KILL", f"docker-{container}.scope")
    if lost:
        output("systemctl", "restart", "--no-block", "docker.service")


if __name__ == "__main__":
    main(*sys.argv[1:])
