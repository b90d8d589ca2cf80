"""The firewall: chains of our own, enforced in one transaction and confirmed over a new login.

Rules are written exactly as `iptables -S` prints them, so that to compare what should be with
what is, is to compare lines. What stands in other chains is somebody else's; only the place of
the jumps to our chains is ours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Literal

from pyinfra import logger
from pyinfra.api import (
    FactBase,
    FunctionCommand,
    QuoteString,
    StringCommand,
    operation,
)
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.sshuserclient import SSHClient
from pyinfra.context import host

from hubstead.operations import files

Network = IPv4Network | IPv6Network
EVERYONE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

INPUT, OUTPUT, USERS = "HUBSTEAD-INPUT", "HUBSTEAD-OUTPUT", "HUBSTEAD-USERS"
APPLY = "/usr/local/lib/hubstead/firewall-apply"
RULES_V4, RULES_V6 = "/etc/hubstead/firewall/rules.v4", "/etc/hubstead/firewall/rules.v6"
#: The address of the clouds' metadata services is in this network (RFC 3927): no setting opens it.
LINK_LOCAL = IPv4Network("169.254.0.0/16")
#: Seconds after which the host takes unconfirmed rules back.
TRIAL = 30

# RFC 4890, 4.4.1 and 4.4.2: what a host must not drop. Errors, echo, and multicast listeners …
_ICMPV6 = ("1", "2", "3/0", "4/1", "4/2", "128", "129")
_ICMPV6_LINK_LOCAL = ("130", "131", "132", "143")
# … and neighbour discovery, which a router would have taken from 255 hops (RFC 4861, 7.1).
_ICMPV6_NEIGHBOUR = ("133", "134", "135", "136", "141", "142", "148", "149")
_REJECT = "-j REJECT --reject-with icmp-port-unreachable"
_KNOWN = "-m conntrack --ctstate RELATED,ESTABLISHED"


@dataclass(frozen=True)
class Opening:
    """A port that `sources` may connect to.

    + connections: as many at once from one address (IPv6: from one /64); 0 for any number.
    """

    port: int
    protocol: Literal["tcp", "udp"]
    sources: tuple[Network, ...]
    connections: int = 0


@dataclass(frozen=True)
class Private:
    """A TCP port of the host to which only some of its own accounts may connect."""

    address: IPv4Address
    port: int
    accounts: tuple[str, ...]


@dataclass(frozen=True)
class Users:
    """The network of the users' servers: an interface, and what may be reached through it.

    `gateway_ports` are TCP ports of `gateway`, the host's own address there. `never` beats
    `allow`, which beats `deny`; what none of them has depends on `internet`. `resolvers` are DNS
    servers, reached on port 53 even where `never` has them. `connections` are those that one server
    may have with the host at once; 0 for any number. `chain` is where what is forwarded for IPv4
    meets ours.
    """

    bridge: str
    gateway: IPv4Address
    gateway_ports: tuple[int, ...]
    internet: bool = False
    never: tuple[IPv4Network, ...] = ()
    allow: tuple[IPv4Network, ...] = ()
    deny: tuple[IPv4Network, ...] = ()
    resolvers: tuple[IPv4Address, ...] = ()
    connections: int = 0
    chain: str = "DOCKER-USER"


@dataclass(frozen=True)
class Policy:
    """What a host lets in, what its users' servers reach, if it has any, and its accounts."""

    openings: tuple[Opening, ...]
    users: Users | None = None
    private: tuple[Private, ...] = ()


def rules(policy: Policy) -> tuple[str, str]:
    """The rules of a policy for IPv4 and for IPv6, in the format of iptables-restore(8)."""
    users = policy.users
    return (
        _table(
            [*_input_v4(users), *_openings(policy.openings, 4), "-j DROP"],
            list(_users_v4(users)) if users else None,
            users_parent=users.chain if users else "FORWARD",
            output_chain=list(_output_v4(policy.private)),
        ),
        _table(
            [*_input_v6(users), *_openings(policy.openings, 6), "-j DROP"],
            [f"-i {users.bridge} -j DROP", f"-o {users.bridge} -j DROP"] if users else None,
            # Docker before version 27 makes no DOCKER-USER for IPv6
            users_parent="FORWARD",
        ),
    )


def _table(
    input_chain: list[str],
    users_chain: list[str] | None,
    users_parent: str,
    output_chain: Sequence[str] = (),
) -> str:
    lines = ["*filter", f":{INPUT} - [0:0]"]
    lines += [f":{OUTPUT} - [0:0]"] if output_chain else []
    lines += [f":{USERS} - [0:0]"] if users_chain is not None else []
    lines += [f"-A {INPUT} {rule}" for rule in input_chain]
    lines += [f"-A {OUTPUT} {rule}" for rule in output_chain]
    lines += [f"-A {USERS} {rule}" for rule in users_chain or []]
    lines += [f"-I INPUT -j {INPUT}"]
    lines += [f"-I OUTPUT -j {OUTPUT}"] if output_chain else []
    lines += [f"-I {users_parent} -j {USERS}"] if users_chain is not None else []
    return "\n".join([*lines, "COMMIT", ""])


def _input_v4(users: Users | None) -> Iterator[str]:
    yield "-i lo -j ACCEPT"
    yield f"{_KNOWN} -j ACCEPT"
    yield "-m conntrack --ctstate INVALID -j DROP"
    if users:
        if users.connections:
            yield f"-i {users.bridge} -p tcp {_too_many(users.connections, 32)}"
        for port in users.gateway_ports:
            yield (
                f"-d {users.gateway}/32 -i {users.bridge} -p tcp -m tcp --dport {port} -j ACCEPT"
            )
        yield f"-i {users.bridge} {_REJECT}"
    yield "-p icmp -m icmp --icmp-type 8 -j ACCEPT"
    yield "-p udp -m udp --sport 67 --dport 68 -j ACCEPT"  # DHCP's answers


def _input_v6(users: Users | None) -> Iterator[str]:
    yield "-i lo -j ACCEPT"
    if users:
        yield f"-i {users.bridge} -j DROP"
    icmp = "-p ipv6-icmp -m icmp6 --icmpv6-type"
    for kind in _ICMPV6_NEIGHBOUR:  # conntrack does not track it: this comes first
        yield f"{icmp} {kind} -m hl --hl-eq 255 -j ACCEPT"
    for kind in _ICMPV6_LINK_LOCAL:
        yield f"-s fe80::/10 {icmp} {kind} -j ACCEPT"
    yield f"{_KNOWN} -j ACCEPT"
    yield "-m conntrack --ctstate INVALID -j DROP"
    for kind in _ICMPV6:
        yield f"{icmp} {kind} -j ACCEPT"
    # DHCPv6's answers (RFC 8415, 7.2)
    yield "-s fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT"


def _openings(openings: Iterable[Opening], version: int) -> Iterator[str]:
    for opening in openings:
        port = f"-p {opening.protocol} -m {opening.protocol} --dport {opening.port}"
        if opening.connections:
            yield f"{port} {_too_many(opening.connections, 32 if version == 4 else 64)}"
        for source in opening.sources:
            if source.version == version:
                yield f"{'' if source.prefixlen == 0 else f'-s {source} '}{port} -j ACCEPT"


def _too_many(connections: int, prefix: int) -> str:
    """Refuse more connections from one network. Rule: iptables-extensions(8), connlimit."""
    return (
        f"-m connlimit --connlimit-above {connections} --connlimit-mask {prefix}"
        " --connlimit-saddr -j REJECT --reject-with tcp-reset"
    )


def _output_v4(private: Iterable[Private]) -> Iterator[str]:
    """Of a connection the first packet: later ones may be the kernel's, without an owner.

    Rule: iptables-extensions(8), owner.
    """
    for each in private:
        first = (
            f"-d {each.address}/32 -p tcp -m tcp --dport {each.port}"
            " --tcp-flags FIN,SYN,RST,ACK SYN"
        )
        for account in each.accounts:
            yield f"{first} -m owner --uid-owner {account} -j RETURN"
        yield f"{first} {_REJECT}"


def _users_v4(users: Users) -> Iterator[str]:
    to, out = f"-o {users.bridge}", f"-i {users.bridge}"
    yield f"{_KNOWN} -j RETURN"
    yield f"{out} {to} -j DROP"  # another user's server
    yield f"{to} -j DROP"  # from outside, routed straight to a container's address
    for resolver in users.resolvers:
        yield f"-d {resolver}/32 {out} -p udp -m udp --dport 53 -j RETURN"
        yield f"-d {resolver}/32 {out} -p tcp -m tcp --dport 53 -j RETURN"
    for network in users.never:
        yield f"-d {network} {out} {_REJECT}"
    for network in users.allow:
        yield f"{_destination(network)}{out} -j RETURN"
    for network in users.deny:
        yield f"{_destination(network)}{out} {_REJECT}"
    yield f"{out} -j RETURN" if users.internet else f"{out} {_REJECT}"


def _destination(network: IPv4Network) -> str:
    return f"-d {network} " if network.prefixlen else ""


@dataclass(frozen=True)
class FirewallState:
    """The filter tables as `iptables -S` prints them, by tool; a family that is off is missing.

    Accounts have their names in the place of their numbers.

    `bridged`: whether packets between two ports of a bridge meet the FORWARD chain.
    """

    tables: dict[str, list[str]] = field(default_factory=dict)
    bridged: bool = False

    @property
    def ours(self) -> bool:
        """Whether anything of ours is there."""
        return any("HUBSTEAD-" in line for lines in self.tables.values() for line in lines)

    def enforces(self, v4: str, v6: str) -> bool:
        """Whether exactly these rules are in force, in front of everybody else's."""
        return (
            "iptables" in self.tables
            and _holds(self.tables["iptables"], v4)
            and _holds(self.tables.get("ip6tables"), v6)
            and (self.bridged or f":{USERS} " not in v4)
        )


def _holds(live: list[str] | None, wanted: str) -> bool:
    if live is None:
        return True
    wanted_lines = wanted.splitlines()
    chains = sorted(line[1:].split()[0] for line in wanted_lines if line.startswith(":"))
    if sorted(line[3:] for line in live if line.startswith("-N HUBSTEAD-")) != chains:
        return False
    for chain in chains:
        start = f"-A {chain} "
        if _of(live, start) != _of(wanted_lines, start):
            return False
    jumps = [line for line in live if line.startswith("-A ") and " -j HUBSTEAD-" in line]
    wanted_jumps = [f"-A {line[3:]}" for line in wanted_lines if line.startswith("-I ")]
    first = [_of(live, " ".join(jump.split()[:2]) + " ")[:1] for jump in wanted_jumps]
    return sorted(jumps) == sorted(wanted_jumps) and first == [[jump] for jump in wanted_jumps]


def _of(lines: list[str], start: str) -> list[str]:
    return [line for line in lines if line.startswith(start)]


def parse_firewall(lines: Iterable[str]) -> FirewallState:
    """The state from the lines that the command of `Firewall` prints."""
    tables: dict[str, list[str]] = {}
    bridged: list[str] = []
    table: list[str] = []
    accounts: dict[str, str] = {}
    for line in lines:
        if line.startswith("tool "):
            table = tables.setdefault(line.removeprefix("tool "), [])
        elif line.startswith("bridged "):
            bridged.append(line.removeprefix("bridged "))
        elif line.startswith("account "):
            _, name, number = line.split(":")
            accounts.setdefault(number, name)
        else:
            owner = re.search(r"(?<= --uid-owner )[0-9]+\b", line)
            if owner and owner[0] in accounts:
                line = line[: owner.start()] + accounts[owner[0]] + line[owner.end() :]
            table.append(line)
    return FirewallState(tables, bridged == ["1", "1"])


_FACT = """
PATH=$PATH:/usr/sbin:/sbin
command -v iptables >/dev/null || exit 0
sed -n 's/^\\([^:]*\\):[^:]*:\\([0-9]*\\):.*/account :\\1:\\2/p' /etc/passwd
for tool in iptables ip6tables; do
    if [ $tool = iptables ] || [ -e /proc/net/if_inet6 ]; then
        echo "tool $tool"
        $tool -w -S || exit 1
    fi
done
sed 's/^/bridged /' /proc/sys/net/bridge/bridge-nf-call-ip*tables 2>/dev/null || true
"""


class Firewall(FactBase[FirewallState]):
    """The filter tables of both families. A host without iptables has none."""

    @staticmethod
    def default() -> FirewallState:
        return FirewallState()

    def command(self) -> StringCommand:
        return StringCommand("sh", "-c", QuoteString(_FACT))

    def process(self, output: list[str]) -> FirewallState:
        return parse_firewall(output)


class Kept(FactBase[tuple[str, str]]):
    """The rules that the last run kept for the next boot, for IPv4 and for IPv6; "" for none."""

    @staticmethod
    def default() -> tuple[str, str]:
        return "", ""

    def command(self) -> str:
        return f"sed 's/^/4/' {RULES_V4} 2>/dev/null; sed 's/^/6/' {RULES_V6} 2>/dev/null || true"

    def process(self, output: list[str]) -> tuple[str, str]:
        v4, v6 = (
            "".join(f"{line[1:]}\n" for line in output if line.startswith(family))
            for family in ("4", "6")
        )
        return v4, v6


def _log_in(connector: SSHConnector) -> Exception | None:
    """What keeps a new connection, made as this run's own was, from logging in."""
    kwargs = connector.make_paramiko_kwargs()
    kwargs |= {"timeout": 8, "banner_timeout": 8, "auth_timeout": 8}
    client = SSHClient()
    try:
        client.connect(kwargs.pop("hostname"), **kwargs)
    except Exception as error:  # whatever it is, it is not a login
        return error
    finally:
        client.close()
    return None


def confirm(state: State, host: Host) -> bool:
    """Prove that people can still log in; if not, wait until the former rules are back.

    Runs on the control machine, between the trial of new rules and the decision to keep them. A
    run that does not come by SSH has nothing to prove.
    """
    connector = host.connector
    if not isinstance(connector, SSHConnector):
        return True
    error = _log_in(connector)
    if error is None:
        return True
    deadline = time.monotonic() + 2 * TRIAL
    while _log_in(connector) and time.monotonic() < deadline:
        time.sleep(1)
    logger.error(
        f"{host.print_prefix}The new firewall rules let no new SSH connection in ({error}), and "
        f"were taken back. Does `firewall_ssh_port` name the port that sshd listens on, and "
        f"`firewall_ssh_from` every address of this machine?"
    )
    return False


@operation()
def enforced(v4: str, v6: str) -> Generator[PyinfraCommand]:
    """Ensure that the rules are in force, and kept for the next boot.

    + v4, v6: what `rules` made of the host's policy.

    New rules are on trial first: unless a new login succeeds, the host takes them back by itself
    after `TRIAL` seconds. They reach the disk when they are confirmed, so a host that is rebooted
    or loses its power in between has the former ones. The files of the role must be there.
    """
    kept = {RULES_V4: files.File(v4), RULES_V6: files.File(v6)}
    if host.get_fact(Firewall).enforces(v4, v6):
        states = host.get_fact(files.Paths, list(kept))
        for path, file in kept.items():
            if states.get(path) != file.as_state():
                yield files.write(path, file)
        return
    for path, file in kept.items():
        yield files.write(f"{path}.new", file)
    yield StringCommand(APPLY, "try", TRIAL)
    yield FunctionCommand(confirm, (), {})
    yield StringCommand(APPLY, "keep")


@operation()
def absent(script: str) -> Generator[StringCommand]:
    """Ensure that no chain of ours, and no jump to one, is in force.

    + script: the text of `firewall-apply`, which the host may not have any more.
    """
    if host.get_fact(Firewall).ours:
        yield StringCommand("sh", "-s", "remove", _stdin=script)
