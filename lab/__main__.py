"""The command line of the lab: `python -m lab --help`."""

import argparse
import os
import shlex
import subprocess
import sys

from lab.api import Lab
from lab.snapshots import describe
from lab.state import LabError


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m lab",
        description="Throwaway Debian hosts on this machine, for trying and testing Hubstead.",
        epilog="Then: pyinfra --group-data .lab/group_data INVENTORY deploys/all.py",
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")

    add("up", "boot the hosts that a pyinfra inventory names").add_argument("inventory")
    down = add("down", "remove every trace of an inventory's hosts")
    down.add_argument("inventory", nargs="?", help="without it: all hosts of this checkout")
    down.add_argument(
        "--keep-snapshots", action="store_true", help="even when no host of this machine is left"
    )
    add("ls", "list this checkout's hosts, and the snapshots")
    ssh = add("ssh", "log in to a host, or run a command there")
    ssh.add_argument("host")
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="CMD", help="a command to run")
    for name, text in {
        "reboot": "reboot a host as a person would",
        "cut": "cut a host's power, and give it back",
        "start": "boot a host that is down",
        "reset": "make a host bare again, at the same address",
        "snapshot": "copy a host's disk as it is at this moment",
        "restore": "have a host as it was at a snapshot",
        "unplug": "pull a host's network cable",
        "plug": "put a host's network cable back",
    }.items():
        add(name, text).add_argument("host")
    for name in ("snapshot", "restore"):
        commands.choices[name].add_argument("name", help="a name of yours for the snapshot")
    commands.choices["restore"].add_argument(
        "--stale", action="store_true", help="even if another tree or inventory made it"
    )
    commands.choices["cut"].add_argument(
        "--stay-down", action="store_true", help="leave it without power until `start`"
    )
    return top


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    lab = Lab()
    try:
        run(lab, options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as error:  # a full disk, a broken tool
        print(f"lab: {error}. Run the same command again once that is mended.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(lab: Lab, options: argparse.Namespace) -> None:
    match options.command:
        case "up":
            lab.up(options.inventory)
        case "down":
            lab.down(options.inventory, keep_snapshots=options.keep_snapshots)
        case "ls":
            for host in lab.hosts():
                state = "up" if lab.is_running(host.name) else "down"
                print(
                    f"{host.name:<28} {host.address:<14} {host.os:<9} {state:<5} {host.inventory}"
                )
            for snapshot in lab.snapshots():
                print(describe(snapshot))
        case "snapshot":
            lab.snapshot([options.host], options.name)
        case "restore":
            lab.restore(options.host, options.name, stale=options.stale)
        case "ssh":
            lab.host(options.host)
            # One word is a line for the host's shell; several are a command and its arguments.
            words = options.words if len(options.words) < 2 else [shlex.join(options.words)]
            command = [*lab.ssh_command(), options.host, *words]
            os.execvp(command[0], command)
        case "cut":
            lab.cut(options.host, stay_down=options.stay_down)
        case command:
            getattr(lab, command)(options.host)


if __name__ == "__main__":
    sys.exit(main())
