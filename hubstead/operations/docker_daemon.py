"""Docker's daemon and its /etc/docker/daemon.json, which may be the owner's as well.

The file can hold secrets of the owner's (a proxy's password, a log driver's token): it is read and
written on the host, and what comes back is which of its keys stand in the way.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import host

from hubstead.operations import files

PATH = "/etc/docker/daemon.json"

# What Hubstead needs: servers that live on while Docker restarts, in cgroups of systemd's, in one
# slice. Each other key is the owner's; those that earlier versions wrote, with nothing of his
# beside, go.
_READ = r"""
import json, os, re, sys
path = os.path.realpath(sys.argv[1])
DRIVER = "native.cgroupdriver"

def is_former(document):
    size = re.compile(r"[0-9]+m")
    options = document.get("log-opts")
    return isinstance(options, dict) and size.fullmatch(str(options.get("max-size"))) and (
        # the first versions left out exec-opts
        {"exec-opts": [DRIVER + "=systemd"], **document} == {
            "exec-opts": [DRIVER + "=systemd"], "live-restore": True, "userland-proxy": False,
            "log-driver": "json-file", "log-opts": {**options, "max-file": "3"},
        })

def in_the_way(document):
    if not isinstance(document, dict):
        return ["it is no JSON object"]
    drivers = [str(each) for each in document.get("exec-opts") or [] if DRIVER in str(each)]
    refused = {
        "live-restore": document.get("live-restore") is False,
        "exec-opts": bool(drivers) and set(drivers) != {DRIVER + "=systemd"},
        "iptables": document.get("iptables") is False,
        "userns-remap": bool(document.get("userns-remap")),
        "group": document.get("group") not in (None, "", "docker"),
    }
    return [key for key, stands in refused.items() if stands]

try:
    with open(path) as stream:
        text, mode = stream.read(), os.fstat(stream.fileno())
    found = json.loads(text) if text.strip() else {}
except FileNotFoundError:
    found, mode = {}, None
except (OSError, ValueError) as error:
    found = str(error)
theirs = {} if isinstance(found, dict) and is_former(found) else found
reasons = [f"it is unreadable: {found}"] if isinstance(found, str) else in_the_way(theirs)
wanted = found
if not reasons:
    options = list(theirs.get("exec-opts") or [])
    if DRIVER + "=systemd" not in options:
        options.append(DRIVER + "=systemd")
    wanted = {**theirs, "exec-opts": options, "live-restore": True}
"""
_LOOK = r"""
def flags():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline").read().split("\0")
        except OSError:
            continue
        if os.path.basename(words[0]) == "dockerd":
            names = {word.partition("=")[0] for word in words[1:]}
            return sorted(names & {
                "--live-restore", "--exec-opt", "--config-file", "--iptables", "--userns-remap",
                "--group", "-G"})
    return []

print(json.dumps({"reasons": reasons, "flags": flags(), "whole": wanted == found}))
"""
_MERGE = (
    files.PUT
    + r"""
if reasons:
    sys.exit(f"{path}: {', '.join(reasons)}")
os.umask(0o022)
os.makedirs(os.path.dirname(path), exist_ok=True)
text = (json.dumps(wanted, indent=2) + "\n").encode()
uid, gid, bits = (mode.st_uid, mode.st_gid, mode.st_mode & 0o7777) if mode else (0, 0, 0o644)
put(path, lambda: text, uid, gid, bits)
"""
)


@dataclass(frozen=True)
class SettingsState:
    """What stands in the way: keys of daemon.json, or words on it, and flags of dockerd's.

    `whole`: whether the file has what it needs.
    """

    reasons: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    whole: bool = False


class DaemonSettings(FactBase[SettingsState]):
    """What of daemon.json, and of the daemon's own flags, concerns Hubstead."""

    @staticmethod
    def default() -> SettingsState:
        return SettingsState()

    def command(self) -> StringCommand:
        return _script(_LOOK)

    def process(self, output: list[str]) -> SettingsState:
        try:
            document: dict[str, Any] = json.loads(output[0])
            reasons, flags = tuple(document["reasons"]), tuple(document["flags"])
            return SettingsState(reasons, flags, document["whole"])
        except (ValueError, KeyError, TypeError) as error:
            raise FactProcessError(f"unreadable description of {PATH}: {error}") from error


def _script(do: str) -> StringCommand:
    return StringCommand("python3 -I -S -c", QuoteString(_READ + do), PATH)


@operation()
def merged() -> Generator[StringCommand]:
    """Ensure that daemon.json has what Hubstead needs, beside what else is in it.

    Rule: dockerd(8), "Daemon configuration file". Fails where a key stands in the way.
    """
    if not host.get_fact(DaemonSettings).whole:
        yield _script(_MERGE)


@dataclass(frozen=True)
class EngineState:
    """The daemon that runs."""

    driver: str
    live_restore: bool
    swarm: bool


class Engine(FactBase[EngineState | None]):
    """How the daemon runs; None where none answers."""

    def command(self) -> StringCommand:
        return StringCommand(
            "timeout 30 docker info --format '{{.CgroupDriver}} {{.LiveRestoreEnabled}}"
            " {{.Swarm.LocalNodeState}}' 2>/dev/null || true"
        )

    def process(self, output: list[str]) -> EngineState | None:
        words = output[-1].split()
        if len(words) != 3:
            return None
        driver, live_restore, swarm = words
        return EngineState(driver, live_restore == "true", swarm not in ("inactive", "error"))


# The reload first: from then on, containers outlive a restart, those without a restart policy too
_SETTLE = """
set -eu
systemctl reload "$1"
tries=0
until [ "$(docker info --format '{{.LiveRestoreEnabled}}')" = true ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 50 ]; then
        journalctl --no-pager -o cat -n 15 -u "$1" >&2
        exit 1
    fi
    sleep 0.2
done
if [ "$(docker info --format '{{.CgroupDriver}}')" != systemd ]; then systemctl restart "$1"; fi
"""


@operation()
def settled(unit: str) -> Generator[StringCommand]:
    """Ensure that the daemon which runs has read what daemon.json has of ours.

    No container stops. Rule: dockerd(8), "Configuration reload behavior".
    """
    state = host.get_fact(Engine)
    if state is not None and (not state.live_restore or state.driver != "systemd"):
        yield StringCommand("sh -c", QuoteString(_SETTLE), "sh", QuoteString(unit))
