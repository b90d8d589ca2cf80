"""The firewall as a user's server, an outsider and the operator meet it, on lab hosts.

Every target is a lab host: "the internet" and the clouds' metadata address are played by
outside.example.net, where a packet that a broken firewall lets out is seen to arrive.
"""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab, image
from tests.kit.network import LISTEN, NOTE_ARRIVALS, PROBE, Target
from tests.kit.support import PROJECT, down, pyinfra

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/firewall.py"
INTERNET = PROJECT / "tests/inventories/firewall_internet.py"
HUB, DB, OUTSIDE = "fw.example.org", "fw-db.example.org", "outside.example.net"
GATEWAY, ALICE, BOB = "172.30.0.1", "172.30.0.10", "172.30.0.11"
METADATA = "169.254.169.254"
OS = os.environ.get("LAB_OS", "trixie")
ENGINE = {"trixie": "docker.io docker-cli", "bookworm": "docker.io"}[OS]


class Site:
    """The hosts, and two users' servers on the hub: alice and bob."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.address = {host.name: host.address for host in lab.hosts()}
        self.address6 = {host.name: host.address6 for host in lab.hosts()}

    def sudo(self, name: str, script: str, input: str | None = None) -> str:
        command = f"sudo sh -euc {shlex.quote(script)}"
        done = self.lab.run(name, command, input=input, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def background(self, name: str, unit: str, program: str, arguments: str = "") -> None:
        python = f"python3 -c {shlex.quote(program)} {arguments}"
        self.sudo(name, f"systemd-run --quiet --unit={unit} {python}")

    def listen(self, name: str) -> None:
        """Services as the hosts have them, each on all addresses."""
        ports = {HUB: "80 443 5432 8081 10", DB: "80 5432", OUTSIDE: "53 80 443"}
        self.background(name, "listen", LISTEN, ports[name])

    def probe(self, name: str, *targets: Target, inside: str = "") -> dict[Target, str]:
        """What a host, or a container on it, finds when it connects to targets."""
        enter = f"docker exec -i {inside}" if inside else ""
        command = f"{enter} python3 -c {shlex.quote(PROBE)}"
        answers: list[str] = json.loads(self.sudo(name, command, json.dumps(targets)))
        return dict(zip(targets, answers, strict=True))

    def alice(self, *targets: Target) -> dict[Target, str]:
        """Which targets a user's server finds open, and which closed.

        A rejection may be silent: the kernel limits the rate of its ICMP answers (icmp(7)).
        """
        found = self.probe(HUB, *targets, inside="alice")
        return {target: "open" if found[target] == "open" else "closed" for target in found}

    def arrivals(self, source: str) -> set[str]:
        """The addresses of the outside host to which packets of another host came."""
        lines = self.sudo(OUTSIDE, "journalctl -u arrivals -o cat").splitlines()
        pairs = [line.split() for line in lines if line.count(".") == 6]
        return {pair[1] for pair in pairs if pair[0] == self.address[source]}

    def chains(self) -> list[str]:
        return self.sudo(HUB, "iptables -S; ip6tables -S").splitlines()

    def ours(self) -> list[str]:
        return [line for line in self.chains() if "HUBSTEAD" in line]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    lab = Lab()
    lab.up(INVENTORY)
    lab.up(INTERNET)
    site = Site(lab)
    install = "apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -qy install"
    site.sudo(HUB, f"{install} --no-install-recommends iptables {ENGINE}")
    with image.archive(OS).open("rb") as archive:
        command = [*lab.ssh_command(), HUB, "sudo docker import - base:1"]
        subprocess.run(command, stdin=archive, check=True, capture_output=True)
    bridge = "com.docker.network.bridge"
    network = f"-o {bridge}.name=hubstead0 -o {bridge}.enable_icc=false hubstead"
    site.sudo(HUB, f"docker network create --subnet 172.30.0.0/16 {network}")
    for user, address in (("alice", ALICE), ("bob", BOB)):
        run = f"docker run -d --restart always --name {user} --network hubstead --ip {address}"
        site.sudo(HUB, f"{run} --stop-signal KILL base:1 python3 -m http.server 8888")
    site.background(OUTSIDE, "arrivals", NOTE_ARRIVALS)
    for name in (HUB, DB, OUTSIDE):
        site.listen(name)
    yield site
    down(lab, INVENTORY)
    down(lab, INTERNET)


def deploy(*data: str) -> list[str]:
    """Deploy the role with some settings; the names of the operations that changed something."""
    options = [word for item in data for word in ("--data", item)]
    run = pyinfra(INVENTORY, *options, "deploys/firewall.py")
    assert run.status == 0 < run.operations, run.output
    return run.changed


def check_users_server(site: Site) -> None:
    """What every user's server reaches, and what it never does."""
    hub, db = site.address[HUB], site.address[DB]
    expected = {(GATEWAY, port): "open" for port in (80, 443, 8081)}
    expected |= {(GATEWAY, port): "closed" for port in (22, 5432, 10)}
    expected |= {(hub, port): "closed" for port in (22, 80, 5432, 8081, 10)}
    expected |= {(db, port): "closed" for port in (22, 80, 5432)}
    expected |= {(METADATA, 80): "closed", (BOB, 8888): "closed"}
    # no IPv6: it has not even an address
    expected |= {(site.address6[name], 80): "closed" for name in (HUB, OUTSIDE)}
    assert site.alice(*expected) == expected
    assert METADATA not in site.arrivals(HUB)


def check_outside(site: Site) -> None:
    """What an outsider reaches, on the hub's addresses and straight on a user's server."""
    ports = [*range(1, 1025), 5432, 8000, 8001, 8080, 8081, 8888]
    ours = [site.address[HUB], site.address6[HUB]]
    site.sudo(OUTSIDE, f"ip route replace 172.30.0.0/16 via {site.address[HUB]}")
    straight = [(ALICE, 8888), (GATEWAY, 8081), (GATEWAY, 5432)]
    found = site.probe(OUTSIDE, *[(a, port) for a in ours for port in ports], *straight)
    answering = {target: answer for target, answer in found.items() if answer != "silent"}
    assert answering == {(address, port): "open" for address in ours for port in (22, 80, 443)}


def script(tmp_path: Path, patch: str) -> str:
    """A deploy of the role with something in it patched."""
    path = tmp_path / "patched.py"
    path.write_text(
        "import os, signal\nfrom hubstead.operations import firewall as chains\n"
        f"{patch}\nfrom hubstead.roles.machine.firewall import firewall\n"
        "from hubstead.site import here\nfirewall(here())\n"
    )
    return str(path)


def test_without_a_firewall_everything_is_open(site: Site) -> None:
    """The other tests would prove nothing where this one fails."""
    outside = site.address[OUTSIDE]
    targets = [(GATEWAY, 5432), (GATEWAY, 22), (site.address[DB], 5432), (outside, 80)]
    assert set(site.alice(*targets).values()) == {"open"}
    assert site.probe(OUTSIDE, (site.address[HUB], 10)).popitem()[1] == "open"
    assert site.probe(DB, (METADATA, 80)).popitem()[1] == "open"
    assert (site.arrivals(HUB), site.arrivals(DB)) == ({outside}, {METADATA})


def refused(site: Site, *data: str) -> str:
    """What a run says that touches nothing, on one line."""
    state = "iptables -S; ip6tables -S; find /etc /usr/local -newer /tmp/before"
    site.sudo(HUB, "touch /tmp/before")
    before = site.sudo(HUB, state)
    options = [word for item in data for word in ("--data", item)]
    run = pyinfra(INVENTORY, "--limit", HUB, *options, "deploys/firewall.py")
    assert run.status == 1 and "Beginning operation run" not in run.output, run.output
    assert site.sudo(HUB, state) == before
    return " ".join(run.output.split())


def test_what_others_reach_is_not_shut_without_a_word(site: Site) -> None:
    said = refused(site, 'firewall_open=[{"port": 5432, "protocol": "udp"}]')
    assert "(5432: python3 (listen.service))" in said
    assert 'firewall_open = [{"port": 5432, "from": []}]' in said


#: The example that comes with Debian's package, with a policy that drops
NFTABLES = """
table inet mine {
    set web { type inet_service; elements = { 80 } }
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iifname { "lo", "hubstead0" } accept
        tcp dport { 22, 8000-8100 } accept
        tcp dport @web accept
    }
}
"""


def test_nftables_that_would_drop_is_named(site: Site) -> None:
    install = "DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends nftables"
    site.sudo(HUB, f"{install}; nft -f -", NFTABLES)
    said = refused(site)
    assert "chain inet mine input drops what no rule" in said
    assert "none accepts port 443;" in said and "80, 443 and what comes from hubstead0" in said
    site.sudo(HUB, "nft add element inet mine web '{ 443 }'")
    dry = pyinfra(INVENTORY, "--limit", HUB, "--dry", "deploys/firewall.py")
    assert dry.status == 0, dry.output
    site.sudo(HUB, "nft delete table inet mine; apt-get -qy purge nftables")


def test_ufw_is_named_with_what_it_lets_in(site: Site) -> None:
    install = "DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends ufw"
    site.sudo(HUB, f"{install}; ufw allow 22/tcp; ufw allow 8088; ufw --force enable")
    said = refused(site)
    assert "ufw is on and lets in 22/tcp, 8088;" in said and "ufw disable" in said
    site.sudo(HUB, "ufw disable; apt-get -qy purge ufw; systemctl restart docker")


def test_firewalld_is_named(site: Site) -> None:
    install = "DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends firewalld"
    site.sudo(HUB, f"{install}; systemctl is-active firewalld")
    said = refused(site)
    assert "firewalld is at work there" in said and "let in 80, 443, " not in said
    assert "let in 80, 443 yourself" in said
    purge = "apt-get -qy purge firewalld nftables"
    site.sudo(HUB, f"systemctl disable --now firewalld; {purge}; systemctl restart docker")


LOCK_OUT = """
chains.TRIAL = 12
build = chains.rules
def without_ssh(policy):
    keep = lambda text: "".join(s for s in text.splitlines(True) if "--dport 22 " not in s)
    return tuple(keep(text) for text in build(policy))
chains.rules = without_ssh
"""


def test_rules_that_lock_out_are_taken_back(site: Site, tmp_path: Path) -> None:
    run = pyinfra(INVENTORY, "--limit", HUB, script(tmp_path, LOCK_OUT))
    assert run.status == 1
    assert "let no new SSH connection in" in run.output
    assert site.ours() == []
    assert "rules" not in site.sudo(HUB, "ls /etc/hubstead/firewall")


def test_a_run_that_is_cut_during_the_trial_leaves_the_former_rules(
    site: Site, tmp_path: Path
) -> None:
    cut = "chains.TRIAL = 3\nchains.confirm = lambda state, host: os.kill(os.getpid(), 9)"
    assert pyinfra(INVENTORY, "--limit", HUB, script(tmp_path, cut)).status == -9
    assert site.ours() != []
    time.sleep(4)
    assert site.ours() == []


def test_a_second_deploy_changes_nothing(site: Site) -> None:
    deploy()
    before = site.chains()
    assert deploy() == []
    assert site.chains() == before


def test_users_servers_reach_the_hub_and_the_proxy_only(site: Site) -> None:
    check_users_server(site)
    assert site.alice((site.address[OUTSIDE], 80)).popitem()[1] == "closed"


def test_outsiders_reach_ssh_and_the_proxy_only(site: Site) -> None:
    check_outside(site)


def test_the_database_host_is_open_to_the_hub_only(site: Site) -> None:
    targets = [(site.address[DB], port) for port in (22, 80, 5432)]
    assert list(site.probe(HUB, *targets).values()) == ["open", "silent", "open"]
    assert list(site.probe(OUTSIDE, *targets).values()) == ["open", "silent", "silent"]


def test_restarting_docker_changes_nothing(site: Site) -> None:
    site.sudo(HUB, "systemctl restart docker")
    check_users_server(site)
    started = "systemctl show -P ExecMainStartTimestampMonotonic hubstead-firewall-docker"
    before = site.sudo(HUB, started).strip()
    wait = f"until [ $({started}) -gt {before} ]; do sleep 0.2; done"
    site.sudo(HUB, f"systemctl kill -s KILL --kill-who main docker; {wait}")
    check_users_server(site)
    check_outside(site)
    assert deploy() == []


#: Those that `make test` leaves to `make test-all`
FURTHER = (
    "iptables -D INPUT -j HUBSTEAD-INPUT; iptables -F HUBSTEAD-INPUT",
    "iptables -I HUBSTEAD-INPUT 3 -p tcp --dport 5432 -j ACCEPT",
    "ip6tables -D INPUT -j HUBSTEAD-INPUT; ip6tables -F HUBSTEAD-INPUT; "
    "ip6tables -X HUBSTEAD-INPUT",
    "rm /etc/hubstead/firewall/rules.v4; echo >/etc/hubstead/firewall/rules.v6",
)
DRIFTS = (
    "iptables -F HUBSTEAD-USERS",
    "iptables -I INPUT -p tcp --dport 5432 -j ACCEPT; ip6tables -I FORWARD -j ACCEPT",
    "iptables -F; ip6tables -F; systemctl stop docker; systemctl start docker; sleep 1",
    "echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables",
    *(pytest.param(drift, marks=pytest.mark.every) for drift in FURTHER),
)


@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_is_mended(site: Site, drift: str) -> None:
    site.sudo(HUB, drift)
    deploy()
    check_users_server(site)
    targets = [(a, 10) for a in (site.address[HUB], site.address6[HUB])]
    assert set(site.probe(OUTSIDE, *targets).values()) == {"silent"}


def test_rules_of_others_stay(site: Site) -> None:
    foreign = [
        "-N theirs",
        '-A theirs -s 198.18.1.9/32 -p tcp -m comment --comment "keep, \\"me\\"" -j DROP',
        "-A INPUT -j theirs",
        "-A DOCKER-USER -s 198.18.1.9/32 -j DROP",
    ]
    for rule in foreign:
        site.sudo(HUB, f"iptables {rule}")
    site.sudo(HUB, "iptables -F HUBSTEAD-INPUT")
    assert deploy() == ["firewall | Enforce the firewall's rules"]
    assert deploy() == []
    assert set(foreign) <= set(site.chains())


def test_the_internet_is_a_setting(site: Site) -> None:
    server = (site.address[OUTSIDE], 80)
    deploy("firewall_user_internet=true")
    check_users_server(site)
    assert site.alice(server) == {server: "open"}
    deploy(f'firewall_user_allow=["{server[0]}/32"]')
    check_users_server(site)
    assert site.alice(server) == {server: "open"}
    deploy()
    assert site.alice(server) == {server: "closed"}


def test_with_the_internet_comes_its_name_service(site: Site) -> None:
    """The host's DNS server is reached even where the settings deny its network."""
    outside = site.address[OUTSIDE]
    site.sudo(HUB, f"cp /etc/resolv.conf /root/; echo nameserver {outside} >/etc/resolv.conf")
    deploy("firewall_user_internet=true", 'firewall_user_deny=["198.18.0.0/15"]')
    assert list(site.alice((outside, 53), (outside, 80)).values()) == ["open", "closed"]
    site.sudo(HUB, "cp /root/resolv.conf /etc/")


def test_further_ports_are_a_setting(site: Site) -> None:
    deploy(f'firewall_open=[{{"port": 10, "from": ["{site.address6[OUTSIDE]}/128"]}}]')
    targets = [(site.address6[HUB], 10), (site.address[HUB], 10)]
    assert list(site.probe(OUTSIDE, *targets).values()) == ["open", "silent"]


def test_settings_that_lock_out_touch_no_host(site: Site) -> None:
    before = site.chains()
    for setting, mend in (
        ('firewall_ssh_from=["198.18.1.0/24"]', '"198.18.0.1/32"'),
        ("firewall_ssh_port=2222", "`firewall_ssh_port` to 22"),
    ):
        run = pyinfra(INVENTORY, "--data", setting, "deploys/firewall.py")
        assert run.status == 1
        assert mend in run.output and "Beginning operation run" not in run.output
    assert site.chains() == before


def test_a_reboot_changes_nothing(site: Site) -> None:
    deploy()
    site.lab.reboot(HUB)
    site.listen(HUB)
    check_users_server(site)
    check_outside(site)
    assert deploy() == []


def test_a_kernel_without_ipv6_is_no_error(site: Site) -> None:
    site.sudo(HUB, "ip6tables -F HUBSTEAD-INPUT")
    without = "mount -t tmpfs none /proc/$$/net; exec /usr/local/lib/hubstead/firewall-apply"
    site.sudo(HUB, f"unshare -m sh -euc {shlex.quote(without)}")
    assert site.sudo(HUB, "ip6tables -S HUBSTEAD-INPUT") == "-N HUBSTEAD-INPUT\n"


def test_switching_it_off_removes_every_trace(site: Site) -> None:
    deploy("firewall=false")
    traces = 'find /etc /usr/local -path "*hubstead*firewall*"; systemctl list-units --all'
    assert "hubstead" not in site.sudo(HUB, traces)
    assert site.ours() == []
    targets = [(GATEWAY, 5432), (site.address[OUTSIDE], 80)]
    assert set(site.alice(*targets).values()) == {"open"}
    assert deploy("firewall=false") == []
