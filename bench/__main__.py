"""Deploy against a plain shell script, side by side on one lab host. Prints times and ratios.

A timing is never a test: nothing here fails for being slow.
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from lab import Lab, snapshots

PROJECT = Path(__file__).parents[1]
WITHOUT_TRANSPORT = ("--data", "ssh_paramiko_connect_kwargs={}")
STARTING = "Starting operation: "

#: Seconds since the run began, and the line that it printed then
Lines = list[tuple[float, str]]


@dataclass(frozen=True)
class Bench:
    """What is deployed, and where.

    `apart`: pyinfra's names of the deploys that the floor has nothing like; `rounds`: how many
    runs that change nothing are timed, each way.
    """

    inventory: Path = PROJECT / "bench/inventory.py"
    host: str = "bench.example.org"
    scripts: tuple[str, ...] = ("deploys/all.py",)
    apart: tuple[str, ...] = ("singleuser", "verify")
    rounds: int = 5

    def report(self, lab: Lab) -> str:
        """The times and ratios. The host is up; it is made bare first."""
        say("cold: a deploy on a bare host")
        lab.reset(self.host)
        bare = self._packages(lab)
        lines = self._deploy()
        total, apart = lines[-1][0], seconds_of(self.apart, lines)

        say(f"no-op: the same again, {self.rounds} times each way")
        pairs = [
            (self._deploy()[-1][0], self._deploy(*WITHOUT_TRANSPORT)[-1][0])
            for _ in range(self.rounds)
        ]
        ours, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
        debug = self._deploy("--debug")
        commands = sum("Running command on" in line for _, line in debug)

        say("floor: a shell script installs the same on a bare host")
        packages = sorted(self._packages(lab) - bare)
        releases = lab.run(self.host, "ls -d /opt/hubstead/*/current").stdout.split()
        locks = [PROJECT / f"locks/{Path(path).parent.name}.txt" for path in releases]
        lab.reset(self.host)
        floor = self._floor(lab, packages, locks)

        return f"""
floor, shell script         {floor:6.1f} s   {len(packages)} packages, {len(locks)} releases
cold run                    {total - apart:6.1f} s   {(total - apart) / floor:.2f} x floor
{", ".join(self.apart):27} {apart:6.1f} s   not in the floor, nor in the line above
no-op run                   {ours:6.1f} s   median of {self.rounds}; {commands} commands
no-op, plain transport      {plain:6.1f} s   {plain / ours:.2f} x ours"""

    def _deploy(self, *arguments: str) -> Lines:
        """Run pyinfra; the last line is empty, and says how long it took."""
        command = [
            Path(sys.executable).with_name("pyinfra"), "-y",
            "--group-data", PROJECT / ".lab/group_data",
            *arguments, self.inventory, *self.scripts,
        ]  # fmt: skip
        began = time.monotonic()
        with subprocess.Popen(
            command, cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout
            lines = [(time.monotonic() - began, line) for line in process.stdout]
        if process.returncode:
            raise SystemExit("".join(line for _, line in lines))
        return [*lines, (time.monotonic() - began, "")]

    def _packages(self, lab: Lab) -> set[str]:
        """The Debian packages that the host has."""
        return set(lab.run(self.host, "dpkg-query -W -f '${Package}\\n'").stdout.split())

    def _floor(self, lab: Lab, packages: list[str], locks: list[Path]) -> float:
        """Seconds for packages and virtualenvs from locks, by a shell script."""
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(PROJECT / "bench/floor.sh", "floor.sh")
            for path in locks:
                tar.add(path, f"locks/{path.name}")
            for path in Path("/usr/local/share/ca-certificates").glob("*.crt"):
                tar.add(path, path.name)
        began = time.monotonic()
        command = [*lab.ssh_command(), self.host, "mkdir /tmp/floor && tar -x -C /tmp/floor"]
        subprocess.run(command, input=archive.getvalue(), check=True)
        lab.run(self.host, f"sudo sh /tmp/floor/floor.sh {shlex.join(packages)}")
        return time.monotonic() - began


def seconds_of(deploys: tuple[str, ...], lines: Lines) -> float:
    """How long the operations of some deploys took in a run."""
    starts = [(at, line.partition(STARTING)[2]) for at, line in lines if STARTING in line]
    ends = [at for at, _ in starts[1:]] + [lines[-1][0]]
    return sum(
        end - at
        for (at, name), end in zip(starts, ends, strict=True)
        if name.partition(" | ")[0] in deploys
    )


def say(text: str) -> None:
    print(f"{text} …", flush=True)


def main() -> None:
    lab, bench = Lab(), Bench()
    lab.up(bench.inventory)
    try:
        print(bench.report(lab))
    finally:
        lab.down(bench.inventory)
        snapshots.secrets(PROJECT, bench.host).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
