"""Which servers Docker has lost, by a systemd and a Docker that only pretend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hubstead.programs import ROOT

PROGRAM = ROOT / "stray_servers.py"
SLICE = "hubstead-users.slice"
RUNS, LOST, OWNERS, ENDS = ("8f" * 32, "3c" * 32, "aa" * 32, "e0" * 32)
TOOL = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
name, words = Path(sys.argv[0]).name, sys.argv[1:]
path = Path(os.environ["WORLD"])
world = json.loads(path.read_text())
if words[0] == "show":
    print("\\n\\n".join(world["scopes"].pop(0)))
elif words[0] == "ps":
    sys.stdout.write("".join(line + "\\n" for line in world["docker"]))
else:
    world["calls"].append(" ".join([name, *words]))
path.write_text(json.dumps(world))
"""


def scope(container: str, slice_: str = SLICE) -> str:
    return f"Id=docker-{container}.scope\nSlice={slice_}\nActiveState=active"


class Host:
    """A host with such tools."""

    def __init__(self, directory: Path) -> None:
        self._world, self._directory = directory / "world.json", directory
        for tool in ("docker", "systemctl"):
            (directory / tool).write_text(TOOL)
            (directory / tool).chmod(0o755)

    def run(self, docker: list[str], *scopes: list[str]) -> tuple[str, list[str]]:
        """What the program prints, and what it does.

        + docker: lines of `docker ps`; scopes: what systemd has, each time that it is asked.
        """
        self._world.write_text(json.dumps({"docker": docker, "scopes": scopes, "calls": []}))
        path = f"{self._directory}:{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, "-I", PROGRAM, SLICE],
            env={"PATH": path, "WORLD": str(self._world)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout, json.loads(self._world.read_text())["calls"]


@pytest.mark.parametrize("state", [None, "exited"])
def test_what_docker_has_lost_is_killed_and_nothing_else(state: str | None, tmp_path: Path) -> None:
    scopes = [scope(RUNS), scope(LOST), scope(OWNERS, "system.slice")]
    docker = [f"{RUNS} running", *([f"{LOST} {state}"] if state else [])]
    said, done = Host(tmp_path).run(docker, [*scopes, scope(ENDS)], scopes)
    assert said == f"Docker has lost {LOST[:12]}, which runs on: killed\n"
    assert done == [
        f"systemctl kill --signal=KILL docker-{LOST}.scope",
        "systemctl restart --no-block docker.service",
    ]


def test_where_nothing_is_lost_docker_goes_on(tmp_path: Path) -> None:
    for docker, scopes in (([], []), ([f"{RUNS} running", f"{ENDS} created"], [scope(RUNS)])):
        assert Host(tmp_path).run(docker, scopes, scopes) == ("", [])
