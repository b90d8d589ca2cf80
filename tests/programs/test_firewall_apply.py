"""firewall-apply in a network of its own, with the rules of a host."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest

from hubstead.operations import firewall
from hubstead.operations.firewall import APPLY, RULES_V4, RULES_V6, Opening, Policy, Private
from tests.programs.conftest import Machine

EVERYONE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
THEIRS = "-A INPUT -p tcp -m tcp --dport 25 -j DROP"
#: In the place of systemd-run and systemctl, whose systemd is outside
NOTES = '#!/bin/sh\necho "${0##*/} $*" >>/run/notes\n'


def write_rules(machine: Machine, *ports: int, suffix: str = "") -> None:
    openings = tuple(Opening(port, "tcp", EVERYONE) for port in ports)
    for path, text in zip(
        (RULES_V4, RULES_V6), firewall.rules(Policy(openings, None)), strict=True
    ):
        machine.write(f"{path}{suffix}", text)


def rules(machine: Machine) -> str:
    return machine.says("iptables -S")


@pytest.fixture
def host(machine: Machine) -> Machine:
    """A machine with a rule of its owner and ours on the disk, which let port 22 in."""
    machine.install(APPLY, "firewall-apply.sh")
    machine.write("/run/stub", NOTES, "755")
    for name in ("systemctl", "systemd-run"):
        machine.run(f"mount --bind /run/stub $(command -v {name})")
    machine.run(f"iptables {THEIRS}")
    write_rules(machine, 22)
    return machine


def test_ours_come_first_and_the_owners_stay(host: Machine) -> None:
    before = rules(host)
    host.run(APPLY)
    enforced = rules(host)
    entries = [line for line in enforced.splitlines() if line.startswith("-A INPUT")]
    assert "HUBSTEAD-" in entries[0] and entries[-1] == THEIRS
    assert "--dport 22 " in enforced and "HUBSTEAD-" in host.says("ip6tables -S")
    host.run(APPLY)
    assert rules(host) == enforced
    host.run(f"{APPLY} remove")
    assert rules(host) == before


def test_a_trial_that_nobody_confirms_is_taken_back(host: Machine) -> None:
    host.run(APPLY)
    former = rules(host)
    write_rules(host, 22, 8443, suffix=".new")
    host.run(f"{APPLY} try 30")
    assert "--dport 8443 " in rules(host)
    (timer,) = [line for line in host.says("cat /run/notes").splitlines() if "--on-active" in line]
    assert timer.startswith("systemd-run ") and "--on-active=30 " in timer
    assert timer.endswith(f"-- {APPLY} back")
    host.run(f"{APPLY} back")
    assert rules(host) == former
    late = host.run(f"{APPLY} keep", check=False)
    assert late.returncode == 1 and "the former ones are back" in late.stderr


def test_a_trial_that_is_confirmed_lasts(host: Machine) -> None:
    host.run(APPLY)
    write_rules(host, 22, 8443, suffix=".new")
    host.run(f"{APPLY} try 30; {APPLY} keep")
    enforced = rules(host)
    host.run(f"{APPLY} back; {APPLY}")
    assert rules(host) == enforced and "--dport 8443 " in enforced


#: Connects as an account; prints how it went
CONNECT = """
setpriv --reuid={} --clear-groups python3 -c '
import socket, sys
try:
    socket.create_connection(("127.0.0.1", {})).close()
except OSError as error:
    print(error.strerror)
else:
    print("connected")'
"""


def test_a_private_port_is_for_its_accounts(host: Machine) -> None:
    """Whoever is there: one that is gone takes no other rule with it."""
    private = Private(IPv4Address("127.0.0.1"), 4242, ("root", "nobody", "of-the-past"))
    for path, text in zip(
        (RULES_V4, RULES_V6), firewall.rules(Policy((), None, (private,))), strict=True
    ):
        host.write(path, text)
    host.run(APPLY)
    host.run("ip link set lo up")
    serve = 'import socket, time; held = socket.create_server(("127.0.0.1", {})); time.sleep(60)'
    for port in (4242, 4243):
        host.run(f"python3 -c '{serve.format(port)}' >/dev/null 2>&1 & sleep 0.5")
    answers = {
        (account, port): host.says(CONNECT.format(account, port)).strip()
        for account in ("root", "nobody", "daemon")
        for port in (4242, 4243)
    }
    assert answers.pop(("daemon", 4242)) == "Connection refused"
    assert set(answers.values()) == {"connected"}
    (jump,) = [line for line in rules(host).splitlines() if line.startswith("-A OUTPUT")]
    assert jump == "-A OUTPUT -j HUBSTEAD-OUTPUT"
    host.run(f"{APPLY} remove")
    assert "HUBSTEAD" not in rules(host)


def test_other_words_are_refused(host: Machine) -> None:
    before = rules(host)
    done = host.run(f"{APPLY} now", check=False)
    assert done.returncode == 2 and "firewall-apply remove" in done.stderr
    assert rules(host) == before
