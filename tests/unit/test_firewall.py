"""The firewall's rules, and when they count as in force; no host."""

import json
import re
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError
from pyinfra.api import FunctionCommand, StringCommand

from hubstead.operations import addresses, files, firewall
from hubstead.operations.firewall import FirewallState, Opening, Policy, Private, Users
from hubstead.roles.machine.firewall import LockOutError, refuse_lock_out, table
from hubstead.settings.firewall import FirewallSettings
from tests.kit.sites import site

USERS = Users(
    bridge="hubstead0",
    gateway=IPv4Address("172.30.0.1"),
    gateway_ports=(8081,),
    never=(firewall.LINK_LOCAL, IPv4Network("198.18.0.14/32")),
    allow=(IPv4Network("10.1.0.0/16"),),
    deny=(IPv4Network("10.0.0.0/8"),),
    connections=256,
)
POLICY = Policy(
    openings=(
        Opening(22, "tcp", (ip_network("198.18.0.0/24"), ip_network("2001:2::/64"))),
        Opening(443, "tcp", (ip_network("0.0.0.0/0"), ip_network("::/0")), connections=4096),
    ),
    users=USERS,
    private=(Private(IPv4Address("172.30.0.1"), 8081, ("root", "jupyterhub")),),
)

# `iptables -S` and `ip6tables -S` of a Debian 13 with Docker 26.1, in force: the rules of POLICY
LIVE_V4 = """\
-P INPUT ACCEPT
-P FORWARD ACCEPT
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-USER
-N HUBSTEAD-INPUT
-N HUBSTEAD-OUTPUT
-N HUBSTEAD-USERS
-A INPUT -j HUBSTEAD-INPUT
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A OUTPUT -j HUBSTEAD-OUTPUT
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-USER -j HUBSTEAD-USERS
-A DOCKER-USER -j RETURN
-A HUBSTEAD-INPUT -i lo -j ACCEPT
-A HUBSTEAD-INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A HUBSTEAD-INPUT -m conntrack --ctstate INVALID -j DROP
-A HUBSTEAD-INPUT -i hubstead0 -p tcp -m connlimit --connlimit-above 256 --connlimit-mask 32 \
--connlimit-saddr -j REJECT --reject-with tcp-reset
-A HUBSTEAD-INPUT -d 172.30.0.1/32 -i hubstead0 -p tcp -m tcp --dport 8081 -j ACCEPT
-A HUBSTEAD-INPUT -i hubstead0 -j REJECT --reject-with icmp-port-unreachable
-A HUBSTEAD-INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A HUBSTEAD-INPUT -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A HUBSTEAD-INPUT -s 198.18.0.0/24 -p tcp -m tcp --dport 22 -j ACCEPT
-A HUBSTEAD-INPUT -p tcp -m tcp --dport 443 -m connlimit --connlimit-above 4096 \
--connlimit-mask 32 --connlimit-saddr -j REJECT --reject-with tcp-reset
-A HUBSTEAD-INPUT -p tcp -m tcp --dport 443 -j ACCEPT
-A HUBSTEAD-INPUT -j DROP
-A HUBSTEAD-OUTPUT -d 172.30.0.1/32 -p tcp -m tcp --dport 8081 --tcp-flags FIN,SYN,RST,ACK SYN \
-m owner --uid-owner 0 -j RETURN
-A HUBSTEAD-OUTPUT -d 172.30.0.1/32 -p tcp -m tcp --dport 8081 --tcp-flags FIN,SYN,RST,ACK SYN \
-m owner --uid-owner 998 -j RETURN
-A HUBSTEAD-OUTPUT -d 172.30.0.1/32 -p tcp -m tcp --dport 8081 --tcp-flags FIN,SYN,RST,ACK SYN \
-j REJECT --reject-with icmp-port-unreachable
-A HUBSTEAD-USERS -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A HUBSTEAD-USERS -i hubstead0 -o hubstead0 -j DROP
-A HUBSTEAD-USERS -o hubstead0 -j DROP
-A HUBSTEAD-USERS -d 169.254.0.0/16 -i hubstead0 -j REJECT --reject-with icmp-port-unreachable
-A HUBSTEAD-USERS -d 198.18.0.14/32 -i hubstead0 -j REJECT --reject-with icmp-port-unreachable
-A HUBSTEAD-USERS -d 10.1.0.0/16 -i hubstead0 -j RETURN
-A HUBSTEAD-USERS -d 10.0.0.0/8 -i hubstead0 -j REJECT --reject-with icmp-port-unreachable
-A HUBSTEAD-USERS -i hubstead0 -j REJECT --reject-with icmp-port-unreachable
"""
LIVE_V6 = """\
-P INPUT ACCEPT
-P FORWARD ACCEPT
-P OUTPUT ACCEPT
-N HUBSTEAD-INPUT
-N HUBSTEAD-USERS
-A INPUT -j HUBSTEAD-INPUT
-A FORWARD -j HUBSTEAD-USERS
-A HUBSTEAD-INPUT -i lo -j ACCEPT
-A HUBSTEAD-INPUT -i hubstead0 -j DROP
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 133 -m hl --hl-eq 255 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 134 -m hl --hl-eq 255 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 136 -m hl --hl-eq 255 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 141 -m hl --hl-eq 255 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 142 -m hl --hl-eq 255 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 148 -m hl --hl-eq 255 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 149 -m hl --hl-eq 255 -j ACCEPT
-A HUBSTEAD-INPUT -s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 130 -j ACCEPT
-A HUBSTEAD-INPUT -s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 131 -j ACCEPT
-A HUBSTEAD-INPUT -s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 132 -j ACCEPT
-A HUBSTEAD-INPUT -s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 143 -j ACCEPT
-A HUBSTEAD-INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A HUBSTEAD-INPUT -m conntrack --ctstate INVALID -j DROP
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 1 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 2 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 3/0 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 4/1 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 4/2 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT
-A HUBSTEAD-INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 129 -j ACCEPT
-A HUBSTEAD-INPUT -s fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT
-A HUBSTEAD-INPUT -s 2001:2::/64 -p tcp -m tcp --dport 22 -j ACCEPT
-A HUBSTEAD-INPUT -p tcp -m tcp --dport 443 -m connlimit --connlimit-above 4096 \
--connlimit-mask 64 --connlimit-saddr -j REJECT --reject-with tcp-reset
-A HUBSTEAD-INPUT -p tcp -m tcp --dport 443 -j ACCEPT
-A HUBSTEAD-INPUT -j DROP
-A HUBSTEAD-USERS -i hubstead0 -j DROP
-A HUBSTEAD-USERS -o hubstead0 -j DROP
"""


def live(v4: str = LIVE_V4, v6: str | None = LIVE_V6, bridged: str = "11") -> FirewallState:
    accounts = "account :root:0", "account :toor:0", "account :jupyterhub:998"
    lines = [*accounts, "tool iptables", *v4.splitlines()]
    lines += ["tool ip6tables", *v6.splitlines()] if v6 is not None else []
    return firewall.parse_firewall([*lines, *[f"bridged {digit}" for digit in bridged]])


def test_the_table_says_who_reaches_what() -> None:
    shown = [re.split(r" {2,}", line) for line in table(site(), POLICY)]
    servers, hub = "servers on hubstead0", "172.30.0.1 tcp 8081 jupyterhub.service"
    assert shown == [
        ["FROM", "TO"],
        ["198.18.0.0/24, 2001:2::/64", "tcp 22", "yes"],
        ["everyone", "tcp 443 traefik.service", "yes, 4096 at once from one address"],
        ["everyone", "anything else, but ping", "dropped"],
        [servers, hub, "yes, 256 at once from one address"],
        [servers, "the host otherwise", "no"],
        [servers, "each other", "no"],
        [servers, "169.254.0.0/16", "never"],
        [servers, "198.18.0.14/32", "never"],
        [servers, "10.1.0.0/16", "yes"],
        [servers, "10.0.0.0/8", "no"],
        [servers, "the internet", "no"],
        [servers, "IPv6", "no"],
        ["everyone", servers, "dropped"],
        ["root, jupyterhub of the host", hub, "nobody else"],
    ]


class TestInForce:
    V4, V6 = firewall.rules(POLICY)

    def test_what_iptables_prints_of_the_rules_are_the_rules(self) -> None:
        assert live().enforces(self.V4, self.V6)

    def test_a_kernel_without_ipv6_is_fine(self) -> None:
        assert live(v6=None).enforces(self.V4, self.V6)

    def test_a_host_without_iptables_is_not(self) -> None:
        assert firewall.parse_firewall([]) == FirewallState()
        assert not FirewallState().enforces(self.V4, self.V6)
        assert not FirewallState().ours

    def test_users_servers_see_each_other_where_bridges_bypass_the_rules(self) -> None:
        for bridged in ("01", "10", "00", ""):
            assert not live(bridged=bridged).enforces(self.V4, self.V6)

    def test_rules_of_others_behind_ours_do_not_matter(self) -> None:
        theirs = LIVE_V4.replace(
            "-A INPUT -j HUBSTEAD-INPUT\n",
            "-N f2b\n-A INPUT -j HUBSTEAD-INPUT\n-A INPUT -p tcp -j f2b\n",
        )
        assert live(theirs).enforces(self.V4, self.V6)

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("-A HUBSTEAD-INPUT -j DROP\n", ""),
            ("-A HUBSTEAD-INPUT -i lo",
             "-A HUBSTEAD-INPUT -p udp -j ACCEPT\n-A HUBSTEAD-INPUT -i lo"),
            ("-A INPUT -j HUBSTEAD-INPUT\n", ""),
            ("-A INPUT -j HUBSTEAD-INPUT\n",
             "-A INPUT -p tcp -j ACCEPT\n-A INPUT -j HUBSTEAD-INPUT\n"),
            ("-A INPUT -j HUBSTEAD-INPUT\n", 2 * "-A INPUT -j HUBSTEAD-INPUT\n"),
            ("-A INPUT -j HUBSTEAD-INPUT\n", "-A INPUT -i eth0 -j HUBSTEAD-INPUT\n"),
            ("-A DOCKER-USER -j HUBSTEAD-USERS\n-A DOCKER-USER -j RETURN\n",
             "-A DOCKER-USER -j RETURN\n-A DOCKER-USER -j HUBSTEAD-USERS\n"),
            ("-i hubstead0 -o hubstead0 -j DROP", "-i hubstead0 -o hubstead0 -j ACCEPT"),
            ("-N HUBSTEAD-USERS\n", "-N HUBSTEAD-USERS\n-N HUBSTEAD-OLD\n"),
            ("-A OUTPUT -j HUBSTEAD-OUTPUT\n", ""),
            ("--uid-owner 998 ", "--uid-owner 997 "),
            ("--uid-owner 998 ", "--uid-owner 0 "),
        ],
    )  # fmt: skip
    def test_drift_is_seen(self, before: str, after: str) -> None:
        assert before in LIVE_V4
        assert not live(LIVE_V4.replace(before, after)).enforces(self.V4, self.V6)

    def test_drift_of_ipv6_is_seen(self) -> None:
        for line in ("-A INPUT -j HUBSTEAD-INPUT\n", "-A HUBSTEAD-USERS -i hubstead0 -j DROP\n"):
            assert not live(v6=LIVE_V6.replace(line, "")).enforces(self.V4, self.V6)

    def test_a_host_without_private_ports_leaves_output_alone(self) -> None:
        v4, v6 = firewall.rules(Policy(POLICY.openings, USERS))
        assert "OUTPUT" not in v4 + v6
        assert not live().enforces(v4, v6)

    def test_a_host_that_no_longer_has_users_gives_up_their_chain(self) -> None:
        v4, v6 = firewall.rules(Policy(POLICY.openings))
        assert "HUBSTEAD-USERS" not in v4 + v6
        assert "hubstead0" not in v4 + v6
        assert not live().enforces(v4, v6)


class TestRules:
    def test_the_internet_with_its_resolvers_is_the_last_resort(self) -> None:
        users = Users(**{**vars(USERS), "internet": True, "resolvers": (ip_address("10.0.0.53"),)})
        lines = firewall.rules(Policy((), users))[0].splitlines()
        chain = [line.removeprefix("-A HUBSTEAD-USERS ") for line in lines if " -i hub" in line]
        assert chain[-1] == "-i hubstead0 -j RETURN"
        resolver = "-d 10.0.0.53/32 -i hubstead0 -p udp -m udp --dport 53 -j RETURN"
        refused = "-d 10.0.0.0/8 -i hubstead0 -j REJECT --reject-with icmp-port-unreachable"
        assert chain.index(resolver) < chain.index(refused)

    def test_everywhere_is_written_as_iptables_does(self) -> None:
        users = Users(**{**vars(USERS), "allow": (ip_network("0.0.0.0/0"),)})
        assert "-A HUBSTEAD-USERS -i hubstead0 -j RETURN" in firewall.rules(Policy((), users))[0]


class FakeHost:
    def __init__(self, state: FirewallState, paths: dict[str, files.PathState]) -> None:
        self.facts = {firewall.Firewall: state, files.Paths: paths}

    def get_fact(self, fact: Any, *args: Any) -> Any:
        return self.facts[fact]


class TestOperation:
    V4, V6 = firewall.rules(POLICY)
    KEPT: ClassVar = {
        firewall.RULES_V4: files.File(V4).as_state(),
        firewall.RULES_V6: files.File(V6).as_state(),
    }

    def commands(
        self, monkeypatch: pytest.MonkeyPatch, state: FirewallState, kept: dict[str, Any]
    ) -> list[Any]:
        monkeypatch.setattr(firewall, "host", FakeHost(state, kept))
        return list(firewall.enforced._inner(v4=self.V4, v6=self.V6))

    def test_nothing_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.commands(monkeypatch, live(), self.KEPT) == []

    def test_new_rules_are_tried_proved_and_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        *writes, trial, proof, keep = self.commands(monkeypatch, FirewallState(), {})
        assert [".new" in str(write) for write in writes] == [True, True]
        assert str(trial) == f"{firewall.APPLY} try {firewall.TRIAL}"
        assert isinstance(proof, FunctionCommand) and proof.function is firewall.confirm
        assert str(keep) == f"{firewall.APPLY} keep"

    def test_rules_in_force_are_kept_for_the_next_boot(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (write,) = self.commands(
            monkeypatch, live(), {firewall.RULES_V6: self.KEPT[firewall.RULES_V6]}
        )
        assert firewall.RULES_V4 in str(write) and ".new" not in str(write)

    def test_removal_only_where_something_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for state, count in ((live(), 1), (FirewallState({"iptables": ["-P INPUT ACCEPT"]}), 0)):
            monkeypatch.setattr(firewall, "host", FakeHost(state, {}))
            commands: list[StringCommand] = list(firewall.absent._inner(script="true"))
            assert [str(command) for command in commands] == ["sh -s remove"] * count


class TestLockOut:
    def settings(self, **data: Any) -> FirewallSettings:
        return FirewallSettings(**data)

    def test_the_port_is_the_one_that_the_run_uses(self) -> None:
        connection = addresses.parse_connection("192.0.2.7 50000 192.0.2.1 2222")
        assert refuse_lock_out(self.settings(), connection, "hub") == 2222
        assert refuse_lock_out(self.settings(), None, "hub") == 22
        assert refuse_lock_out(self.settings(firewall_ssh_port=2200), None, "hub") == 2200

    def test_another_port_is_refused(self) -> None:
        connection = addresses.parse_connection("192.0.2.7 50000 192.0.2.1 22")
        with pytest.raises(LockOutError, match=r"`firewall_ssh_port` = 2222 .*hub.* port 22;"):
            refuse_lock_out(self.settings(firewall_ssh_port=2222), connection, "hub")

    @pytest.mark.parametrize(
        ("client", "networks", "mend"),
        [
            ("192.0.2.7", ["198.51.100.0/24"], '"192.0.2.7/32"'),
            ("2001:db8::7", ["198.51.100.0/24"], '"2001:db8::7/128"'),
            ("192.0.2.7", [], '"192.0.2.7/32"'),
        ],
    )
    def test_another_network_is_refused(self, client: str, networks: list[str], mend: str) -> None:
        connection = addresses.parse_connection(f"{client} 50000 192.0.2.1 22")
        with pytest.raises(LockOutError, match=mend):
            refuse_lock_out(self.settings(firewall_ssh_from=networks), connection, "hub")

    @pytest.mark.parametrize("client", ["192.0.2.7", "::ffff:192.0.2.7", "fe80::1%eth0"])
    def test_a_network_of_ones_own_is_not(self, client: str) -> None:
        connection = addresses.parse_connection(f"{client} 50000 {client} 22")
        networks = ["192.0.2.0/24", "fe80::/10"]
        assert refuse_lock_out(self.settings(firewall_ssh_from=networks), connection, "hub") == 22


class TestSettings:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"firewall_ssh_from": ["10.0.0.1/8"]}, "firewall_ssh_from"),
            ({"firewall_user_allow": ["169.254.169.254/32"]}, "169.254.169.254"),
            ({"firewall_user_allow": ["2001:db8::/32"]}, "firewall_user_allow"),
            ({"firewall_open": [{"port": 70000}]}, "less than or equal to 65535"),
            ({"firewall_open": [{"port": 80, "to": ["10.0.0.0/8"]}]}, "to"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, data: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            FirewallSettings(**data)

    def test_a_port_is_open_to_everyone_by_default(self) -> None:
        (port,) = FirewallSettings(firewall_open=[{"port": 8443}]).firewall_open
        assert (port.protocol, [str(net) for net in port.sources]) == ("tcp", ["0.0.0.0/0", "::/0"])


def link(
    name: str,
    *found: str,
    kind: str | None = None,
    master: str | None = None,
    scope: str = "global",
) -> dict[str, Any]:
    """An interface as `ip -json -details address` prints it, shortened to what is read."""
    return {
        "ifname": name,
        **({"master": master} if master else {}),
        **({"linkinfo": {"info_kind": kind}} if kind else {}),
        "addr_info": [{"local": address, "scope": scope} for address in found],
    }


def outward(*items: dict[str, Any]) -> list[tuple[str, ...]]:
    """The addresses of the interfaces that lead to other hosts; `items` are links and routes."""
    lines = [json.dumps([item]) for item in items]
    found = addresses.parse_interfaces([*lines, "[]", ""])
    return [tuple(map(str, each.addresses)) for each in found if each.outward and each.addresses]


class TestAddresses:
    def test_no_connection(self) -> None:
        assert addresses.parse_connection("\n") is None

    def test_an_interface_has_the_addresses_that_others_use(self) -> None:
        (found,) = outward(
            link("lo", "127.0.0.1", scope="host"),
            link("host0", kind="veth")
            | {
                "addr_info": [
                    {"local": "2001:2::13", "scope": "global"},
                    {"local": "198.18.0.13", "prefixlen": 24, "scope": "global"},
                    {"local": "fe80::1", "scope": "link"},
                    {"local": "2001:2::dead", "scope": "global", "temporary": True},
                ]
            },
        )
        assert found == ("198.18.0.13", "2001:2::13")

    @pytest.mark.parametrize("kind", [None, "vlan", "bond", "vxlan"])
    def test_a_bridge_with_a_card_is_the_hosts_whatever_it_is_called(
        self, kind: str | None
    ) -> None:
        lan = link("br-lan", "10.0.0.4", kind="bridge")
        assert outward(lan, link("docker1", master="br-lan", kind=kind)) == [("10.0.0.4",)]

    @pytest.mark.parametrize(
        "route",
        [
            {"dst": "default", "gateway": "10.0.0.1", "dev": "br-lan"},
            {"dst": "default", "nexthops": [{"dev": "br-lan"}, {"dev": "ppp0"}]},
        ],
    )
    def test_a_bridge_is_the_hosts_where_a_default_route_uses_it(
        self, route: dict[str, Any]
    ) -> None:
        """A host that is a container itself: its way out is a veth, too."""
        lan = link("br-lan", "10.0.0.4", kind="bridge")
        assert outward(lan, link("host0", master="br-lan", kind="veth")) == []
        assert outward(lan, link("host0", master="br-lan", kind="veth"), route) == [("10.0.0.4",)]

    @pytest.mark.parametrize("name", ["docker0", "users0", "lan", "eth7", "virbr0"])
    @pytest.mark.parametrize("kind", ["veth", "tun", "dummy"])
    def test_a_bridge_of_containers_is_not_the_hosts_whatever_it_is_called(
        self, name: str, kind: str
    ) -> None:
        inner = link(name, "172.30.0.1", kind="bridge")
        assert outward(inner) == []
        assert outward(inner, link("eth0", master=name, kind=kind)) == []

    @pytest.mark.parametrize("name", ["docker-lan", "veth0", "cni", "hubstead", "br-x.30", "lo"])
    @pytest.mark.parametrize("kind", [None, "vlan", "bond", "wireguard", "macvlan", "veth"])
    def test_what_is_no_bridge_is_the_hosts_whatever_it_is_called(
        self, name: str, kind: str | None
    ) -> None:
        assert outward(link(name, "10.0.0.4", kind=kind)) == [("10.0.0.4",)]

    def test_resolvers_that_a_container_reaches(self) -> None:
        lines = "# local\nsearch example.org\nnameserver 127.0.0.1\nnameserver 10.0.0.53\n"
        lines += "nameserver fe80::1%eth0\noptions edns0\n"
        assert addresses.parse_resolvers(lines.splitlines()) == [IPv4Address("10.0.0.53")]
