"""Deploy against a plain shell script, side by side on one lab host. Prints times and ratios.

A timing is never a test: nothing here fails for being slow.
"""

from __future__ import annotations

import statistics
import subprocess
import tarfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from lab import Lab

PROJECT = Path(__file__).parents[1]
INVENTORY = PROJECT / "bench/inventory.py"
HOST = "bench.example.org"
WITHOUT_TRANSPORT = ("--data", "ssh_paramiko_connect_kwargs={}")


def timed(action: Callable[[], object]) -> float:
    """Seconds that `action` took."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def deploy(script: str, *arguments: str) -> str:
    """Run pyinfra; what it printed."""
    process = subprocess.run(
        [
            PROJECT / ".venv/bin/pyinfra", "-y", "--group-data", PROJECT / ".lab/group_data",
            *arguments, INVENTORY, script,
        ],
        cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    if process.returncode:
        raise SystemExit(process.stdout)
    return process.stdout


def floor(lab: Lab) -> None:
    """Install the same packages by a shell script."""
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(PROJECT / "bench/floor.sh", "floor.sh")
        for path in (PROJECT / "locks").glob("*.txt"):
            tar.add(path, path.name)
        for path in Path("/usr/local/share/ca-certificates").glob("*.crt"):
            tar.add(path, path.name)
    command = [*lab.ssh_command(), HOST, "mkdir /tmp/floor && tar -x -C /tmp/floor"]
    subprocess.run(command, input=archive.getvalue(), check=True)
    lab.run(HOST, "sudo sh /tmp/floor/floor.sh")


def main() -> None:
    lab = Lab()
    lab.up(INVENTORY)
    try:
        print("floor: a shell script on a bare host …", flush=True)
        lab.reset(HOST)
        floor_seconds = timed(lambda: floor(lab))
        print("cold: a deploy on a bare host …", flush=True)
        lab.reset(HOST)
        cold_seconds = timed(lambda: deploy("bench/cold.py"))
        print("image, checks: the rest of deploys/all.py …", flush=True)
        image_seconds = timed(lambda: deploy("deploys/all.py"))
        print("no-op: deploys/all.py again, five times each way …", flush=True)
        pairs = [
            (
                timed(lambda: deploy("deploys/all.py")),
                timed(lambda: deploy("deploys/all.py", *WITHOUT_TRANSPORT)),
            )
            for _ in range(5)
        ]
        commands = deploy("deploys/all.py", "--debug").count("Running command on")
    finally:
        lab.down(INVENTORY)
    ours, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"""
floor, shell script          {floor_seconds:6.1f} s
cold run, without the image  {cold_seconds:6.1f} s   {cold_seconds / floor_seconds:.2f} x floor
image and checks             {image_seconds:6.1f} s
no-op run                    {ours:6.1f} s   median of 5; {commands} commands
no-op, plain transport       {plain:6.1f} s   {plain / ours:.2f} x ours""")


if __name__ == "__main__":
    main()
