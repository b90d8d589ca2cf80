#!/usr/bin/python3 -I
"""Written by Hubstead: the network of people's servers, where these are units of systemd.

    people-network POLICY up           the bridge, with the host's own address on it
    people-network POLICY down         none of it, and none of the servers' ends of it
    people-network POLICY join UID     a network namespace for the server of a uid, on the bridge,
                                       and terminals
    people-network POLICY leave UID    neither of them

POLICY is a JSON document, `Policy` says what is in it. Each server has a namespace of its own: what
it has on loopback, and in abstract sockets (unix(7)), is nobody else's. What it reaches beyond that
is the firewall's to say, whose chains come before the one that is made here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NoReturn

#: Ours in the tables filter and nat
CHAIN = "PEOPLE-SERVERS"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
#: There where the host forwarded nothing before
MARK = Path("/run/hubstead-people-network.forwards")
NAMESPACES = Path("/run/netns")
#: A file system of terminals for each server, whose number counts for that alone
TERMINALS, MOST = Path("/run/hubstead-terminals"), 256


@dataclass(frozen=True)
class Policy:
    """Where people's servers are.

    + bridge: the name of the interface, made here.
    + subnet: all their addresses.
    + gateway: the host's own.
    + first: the address of the server of the uid `uid`; that of each other one is as much farther.
    """

    bridge: str
    subnet: str
    gateway: str
    first: str
    uid: int

    def address(self, uid: int) -> str:
        """Of the server of a uid, with the length of the network's prefix."""
        address = IPv4Address(self.first) + uid - self.uid
        network = IPv4Network(self.subnet)
        if uid < self.uid or address not in network:
            sys.exit(f"no uid of somebody's: {uid}")
        return f"{address}/{network.prefixlen}"

    @property
    def host(self) -> str:
        return f"{self.gateway}/{IPv4Network(self.subnet).prefixlen}"


def run(*command: str) -> None:
    """Raises CalledProcessError."""
    subprocess.run(command, check=True)


def holds(*command: str) -> bool:
    """Whether a command succeeds; it prints nothing."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def without_ipv6(interface: str) -> None:
    switch = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
    if switch.exists():
        switch.write_text("1\n")


def up(policy: Policy) -> None:
    """Make what is missing; servers that run stay connected."""
    bridge = policy.bridge
    if not holds("ip", "link", "show", "dev", bridge):
        run("ip", "link", "add", bridge, "type", "bridge")
    without_ipv6(bridge)
    run("ip", "address", "replace", policy.host, "dev", bridge)
    run("ip", "link", "set", bridge, "up")
    if FORWARDING.read_text().strip() == "0":
        # not for anybody else
        MARK.touch()
        FORWARDING.write_text("1\n")
    forget_rules()
    for line in rules(policy):
        run("iptables", "-w", *line.split())


def rules(policy: Policy) -> list[str]:
    """What servers send goes on with the host's address; others get answers through, no more."""
    bridge, known = policy.bridge, "-m conntrack --ctstate RELATED,ESTABLISHED"
    elsewhere = [f"-A {CHAIN} -j DROP"] if MARK.exists() else []
    return [
        f"-N {CHAIN}",
        f"-A {CHAIN} -o {bridge} {known} -j ACCEPT",
        f"-A {CHAIN} -o {bridge} -j DROP",
        f"-A {CHAIN} -i {bridge} -j ACCEPT",
        *elsewhere,
        # the last: what is somebody else's to forward has passed
        f"-A FORWARD -j {CHAIN}",
        f"-t nat -N {CHAIN}",
        f"-t nat -A {CHAIN} -s {policy.subnet} ! -o {bridge} -j MASQUERADE",
        f"-t nat -A POSTROUTING -j {CHAIN}",
    ]


def forget_rules() -> None:
    for table, parent in (("filter", "FORWARD"), ("nat", "POSTROUTING")):
        tool = ("iptables", "-w", "-t", table)
        if holds(*tool, "-S", CHAIN):
            while holds(*tool, "-D", parent, "-j", CHAIN):
                pass
            run(*tool, "-F", CHAIN)
            run(*tool, "-X", CHAIN)


def down(policy: Policy) -> None:
    forget_rules()
    if NAMESPACES.is_dir():
        for path in NAMESPACES.glob("hubstead-*"):
            leave(int(path.name.removeprefix("hubstead-")))
    if TERMINALS.exists():
        TERMINALS.rmdir()
    if holds("ip", "link", "show", "dev", policy.bridge):
        run("ip", "link", "delete", policy.bridge)
    if MARK.exists():
        # Docker, say, has come to need it since
        if not holds("iptables", "-w", "-S", "DOCKER"):
            FORWARDING.write_text("0\n")
        MARK.unlink()


def join(policy: Policy, uid: int) -> None:
    address = policy.address(uid)
    name, link = f"hubstead-{uid}", f"hs{uid}"
    leave(uid)
    run("ip", "netns", "add", name)
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
    without_ipv6(link)
    run("ip", "link", "set", link, "master", policy.bridge)
    # whatever the firewall says: frames go to the host alone, none to another server
    run("bridge", "link", "set", "dev", link, "isolated", "on")
    run("ip", "link", "set", link, "up")
    within = ("ip", "-n", name)
    switches = "for each in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$each; done"
    run("ip", "netns", "exec", name, "sh", "-c", f"[ ! -e /proc/net/if_inet6 ] || {switches}")
    run(*within, "link", "set", "lo", "up")
    run(*within, "address", "add", address, "dev", "eth0")
    run(*within, "link", "set", "eth0", "up")
    run(*within, "route", "add", "default", "via", policy.gateway)
    # those of the host are as many for everybody together (kernel.pty.max), logins by SSH too
    (TERMINALS / str(uid)).mkdir(mode=0o755, parents=True)
    options = f"nosuid,noexec,mode=620,ptmxmode=666,gid=5,max={MOST}"
    run("mount", "-t", "devpts", "-o", options, "devpts", str(TERMINALS / str(uid)))


def leave(uid: int) -> None:
    """With the namespace go the ends of its link."""
    if (NAMESPACES / f"hubstead-{uid}").exists():
        run("ip", "netns", "delete", f"hubstead-{uid}")
    if holds("ip", "link", "show", "dev", f"hs{uid}"):
        run("ip", "link", "delete", f"hs{uid}")
    terminals = TERMINALS / str(uid)
    if terminals.exists():
        if terminals.is_mount():
            # lazily: a process that was killed may not be gone
            run("umount", "--lazy", str(terminals))
        terminals.rmdir()


def main(path: str, action: str, *uids: str) -> NoReturn:
    policy = Policy(**json.loads(Path(path).read_text()))
    match action, uids:
        case "up", ():
            up(policy)
        case "down", ():
            down(policy)
        case "join", (uid,):
            join(policy, int(uid))
        case "leave", (uid,):
            leave(int(uid))
        case _:
            sys.exit(__doc__)
    sys.exit()


if __name__ == "__main__":
    main(*sys.argv[1:])
