"""The lab's network on this machine: a bridge, forwarding, one masquerade, and extra addresses.

The ranges are for benchmarks (RFC 2544 and RFC 5180), so that they never meet a real network.
"""

import ipaddress
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab.state import STATE, LabError, Record, write

BRIDGE = "hubstead0"
MAC = "02:c6:12:00:00:01"  # fixed, or a bridge's changes with its ports
RANGE = ipaddress.IPv4Network("198.18.0.0/24")
GATEWAY, GATEWAY6 = "198.18.0.1", "2001:2::1"
TABLE = "19818"  # a routing table of our own, only for packets that come from the lab
# Every systemd and container engine of every host counts against root's inotify limit here.
SYSCTLS = {"net.ipv4.ip_forward": 1, "fs.inotify.max_user_instances": 2048}
MODULES = ["overlay", "br_netfilter", "ip_tables", "ip6_tables", "vxlan"]
REMEMBERED = STATE / "sysctl.json"

_TAG = ["-m", "comment", "--comment", "hubstead lab"]
_REPLIES = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]
_FORWARD = [
    ["FORWARD", "-i", BRIDGE, *_TAG, "-j", "ACCEPT"],
    ["FORWARD", "-o", BRIDGE, *_REPLIES, *_TAG, "-j", "ACCEPT"],
]
_MASQUERADE = ["POSTROUTING", "-s", str(RANGE), "!", "-o", BRIDGE, *_TAG, "-j", "MASQUERADE"]
# (command, table, rule). The forward rules matter where Docker has set the policy to DROP.
RULES = [
    ("iptables", "nat", _MASQUERADE),
    *(("iptables", "filter", rule) for rule in _FORWARD),
    *(("ip6tables", "filter", rule) for rule in _FORWARD),
]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def exists(interface: str) -> bool:
    return Path("/sys/class/net", interface).exists()


def up() -> None:
    """The bridge with its addresses, forwarding and NAT, made where they are missing."""
    if not exists(BRIDGE):
        routes = subprocess.run(
            ["ip", "-4", "route", "show", str(RANGE)], capture_output=True, text=True, check=True
        ).stdout.strip()
        if routes:
            raise LabError(f"The lab's range {RANGE} is in use on this machine: {routes}")
        _run("ip", "link", "add", BRIDGE, "address", MAC, "type", "bridge")
    _run("ip", "address", "replace", f"{GATEWAY}/24", "dev", BRIDGE)
    _run("ip", "-6", "address", "replace", f"{GATEWAY6}/64", "dev", BRIDGE, "nodad")
    _run("ip", "link", "set", BRIDGE, "up")
    if shutil.which("modprobe"):
        # A container cannot load modules; Docker and iptables inside want these where not built in.
        _succeeds("modprobe", "--all", "--quiet", *MODULES)
    _raise_sysctls()
    for command, table, rule in RULES:
        if not _succeeds(command, "-w", "-t", table, "-C", *rule):
            _run(command, "-w", "-t", table, "-I", *rule)


def route(hosts: Iterable[Record]) -> None:
    """Send what lab hosts address to an extra address to the host that carries it.

    In a table of their own: this machine's way to, say, its cloud's metadata service stays what
    it was. A packet to an address of these ranges that no lab host carries ends here.
    """
    for unreachable in ("169.254.0.0/16", "198.18.0.0/15"):
        _run("ip", "route", "replace", "unreachable", unreachable, "table", TABLE)
    for host in hosts:
        for address in host.addresses:
            via = ["via", host.address, "dev", BRIDGE]
            _run("ip", "route", "replace", f"{address}/32", *via, "table", TABLE)
    rules = subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout
    if f"lookup {TABLE}" not in rules:
        _run("ip", "rule", "add", "priority", TABLE, "iif", BRIDGE, "lookup", TABLE)


def unroute(host: Record) -> None:
    for address in host.addresses:
        _succeeds("ip", "route", "delete", f"{address}/32", "table", TABLE)


def down() -> None:
    """Remove all of it, and set this machine's settings back."""
    while _succeeds("ip", "rule", "delete", "priority", TABLE):
        pass
    _succeeds("ip", "route", "flush", "table", TABLE)
    for command, table, rule in RULES:
        while _succeeds(command, "-w", "-t", table, "-D", *rule):
            pass
    if exists(BRIDGE):
        _run("ip", "link", "delete", BRIDGE)
    if REMEMBERED.exists():
        for key, value in json.loads(REMEMBERED.read_text()).items():
            if _sysctl(key).read_text().split() == [str(SYSCTLS[key])]:
                _sysctl(key).write_text(value)
        REMEMBERED.unlink()


def unplug(host: Record) -> None:
    _run("ip", "link", "set", host.interface, "down")


def plug(host: Record) -> None:
    _run("ip", "link", "set", host.interface, "up")


def nameservers() -> list[str]:
    """This machine's DNS servers, but no stub on loopback, which hosts cannot reach."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        found = parse_nameservers(path.read_text()) if path.exists() else []
        if found:
            return found
    return []


def parse_nameservers(resolv_conf: str) -> list[str]:
    lines = [line.split() for line in resolv_conf.splitlines()]
    found = [line[1] for line in lines if line[:1] == ["nameserver"] and len(line) > 1]
    return [server for server in found if not server.startswith(("127.", "::1"))]


def _sysctl(key: str) -> Path:
    return Path("/proc/sys", *key.split("."))


def _raise_sysctls() -> None:
    before = json.loads(REMEMBERED.read_text()) if REMEMBERED.exists() else {}
    for key, value in SYSCTLS.items():
        current = _sysctl(key).read_text().strip()
        if int(current) < value:
            before.setdefault(key, current)
            REMEMBERED.parent.mkdir(parents=True, exist_ok=True)
            write(REMEMBERED, json.dumps(before))
            _sysctl(key).write_text(str(value))
