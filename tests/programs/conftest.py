"""What the tests of the hosts' programs share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hubstead.programs import program

# What is written to these places stays there; /etc begins as this machine's.
_APART = """
set -eu
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
for place in /opt /run /usr/local; do mount -t tmpfs none "$place"; done
ip link set lo up
echo apart
exec sleep infinity
"""


@dataclass
class Machine:
    """This machine, with an /etc, /opt, /run, /usr/local and a network of its own."""

    process: int

    def run(
        self, command: str, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell's command line there, as root."""
        done = subprocess.run(
            ["nsenter", f"--target={self.process}", "--mount", "--net", "sh", "-euc", command],
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done
        return done

    def says(self, command: str) -> str:
        """What it prints, without the last newline."""
        return self.run(command).stdout.rstrip("\n")

    def write(self, path: str, text: str, mode: str = "644") -> None:
        self.run(f"mkdir -p $(dirname {path}); cat >{path}; chmod {mode} {path}", stdin=text)

    def install(self, path: str, name: str) -> None:
        """Put programs/NAME where hosts have it."""
        self.write(path, program(name), "755")


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine to run programs on that write to fixed paths."""
    if os.geteuid():
        pytest.skip("needs root, as the lab does")
    with subprocess.Popen(
        ["unshare", "--mount", "--net", "sh", "-c", _APART], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "apart\n"
            yield Machine(process.pid)
        finally:
            process.kill()
