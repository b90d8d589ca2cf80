"""Units, packages, accounts, certificates, users: what is settled is left alone, and parsing."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import FactBase, FactProcessError
from pyinfra.context import ctx_state
from pyinfra.facts import files as pyinfra_files
from pyinfra.facts.server import Which

from hubstead.operations import (
    accounts,
    certificates,
    checks,
    docker,
    files,
    internal_ca,
    units,
    users_table,
)
from hubstead.operations.accounts import (
    Account,
    AccountState,
    outside,
    parse_account,
    system_user,
)
from hubstead.operations.addresses import Interfaces, SshConnection
from hubstead.operations.certificates import Trust, TrustState
from hubstead.operations.docker import Images, ImagesState, Network, parse_images
from hubstead.operations.files import STATE, File, Paths
from hubstead.operations.login import Login
from hubstead.operations.machine import Listener, Machine, MachineState, parse_machine, unit_of
from hubstead.operations.packages import Packages, PackagesState, installed, parse_packages
from hubstead.operations.releases import Releases
from hubstead.operations.units import Unit, UnitState
from tests.unit.operations.support import Command, ask, commands, lines

PEM = File(b"PEM").as_state()
LAB = {"/usr/local/share/ca-certificates/hubstead-lab.crt": replace(PEM, written=PEM.sha256)}
RUNNING = UnitState(loaded=True, active=True, enabled=True, started=100, changed=101, inputs=99)


@pytest.mark.parametrize(
    ("operation", "facts", "arguments"),
    [
        (units.running, {Unit: RUNNING}, {"unit": "hub.service", "inputs": ["/etc/hub"]}),
        (units.stopped, {Unit: UnitState()}, {"unit": "hub.service"}),
        (units.extended, {units.DropIns: ["/a"]}, {"unit": "hub.service", "drop_in": "/a"}),
        (units.stopped, {Unit: UnitState(loaded=True)}, {"unit": "hub.service"}),
        (installed, {Packages: PackagesState(frozenset({"curl"}))}, {"packages": ["curl"]}),
        (
            system_user,
            {Account: AccountState("/home", "/usr/sbin/nologin", frozenset({"hub", "docker"}))},
            {"user": "hub", "home": "/home", "groups": ["docker"]},
        ),
        (
            outside,
            {Account: AccountState("/home", "/usr/sbin/nologin", frozenset({"hub"}))},
            {"user": "hub", "group": "docker", "keeper": "/etc/hub"},
        ),
        (outside, {Account: None}, {"user": "hub", "group": "docker", "keeper": "/etc/hub"}),
        (
            certificates.trusted,
            {Trust: TrustState(("/usr/local/share/ca-certificates/hubstead-lab.crt",)), Paths: LAB},
            {"authorities": {"lab": b"PEM"}},
        ),
        (internal_ca.issued, {internal_ca.CertificateIsValid: True}, {}),
        (accounts.group_absent, {accounts.Group: False}, {"group": "hubstead-tls"}),
        (files.cleared, {files.EmptyDirectories: []}, {"paths": ["/etc/jupyterhub"]}),
        (docker.absent, {docker.Ours: []}, {"network": "hubstead", "repositories": ["image"]}),
        (users_table.migrated, {users_table.Changes: []}, {"known": "/accounts.json"}),
        (
            users_table.declared,
            {users_table.Changes: [], Which: users_table.COMMAND},
            {"people": [{"username": "ada"}]},
        ),
    ],
)  # fmt: skip
def test_what_is_settled_is_left_alone(
    operation: Any, facts: dict[type[FactBase[Any]], Any], arguments: dict[str, Any]
) -> None:
    assert lines(operation, facts, **arguments) == []


@pytest.mark.parametrize("state", ["active", "starting", "failed"])
def test_what_is_at_work_or_about_to_be_is_stopped(state: str) -> None:
    """Also where the unit's file has gone; what runs to an end is "activating" meanwhile."""
    sent = lines(units.stopped, {Unit: UnitState(**{state: True})}, unit="hub.service")
    assert sent[0] == "systemctl stop hub.service"


def test_who_runs_to_an_end_is_at_work() -> None:
    found = units.parse_unit(["LoadState=not-found", "ActiveState=activating"])
    assert (found.starting, found.active, found.failed) == (True, False, False)


def test_what_is_left_of_peoples_servers_goes_in_its_order() -> None:
    found = ["container 8f", "network 3c", "image hubstead/singleuser:1"]
    sent = lines(docker.absent, {docker.Ours: found}, network="hubstead", repositories=["image"])
    assert sent == [
        "docker container rm --force 8f >/dev/null",
        "docker network rm 3c >/dev/null",
        "docker image rm hubstead/singleuser:1 >/dev/null",
    ]


def test_empty_directories_go_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "gone/inner").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/lines.py").touch()
    paths = [str(tmp_path / name) for name in ("gone", "kept", "never")]
    found = ask(files.EmptyDirectories(), paths)
    (command,) = commands(files.cleared, {files.EmptyDirectories: found}, paths=paths)
    command.run()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert ask(files.EmptyDirectories(), paths) == []


UPDATE = "update-ca-certificates --fresh >/dev/null && touch /etc/ssl/certs/ca-certificates.crt"


@pytest.mark.parametrize("knew_people", [False, True])
@pytest.mark.parametrize("lost", [False, True])
def test_the_loss_of_the_users_table_is_told(
    knew_people: bool, lost: bool, caplog: pytest.LogCaptureFixture
) -> None:
    facts = {
        users_table.Changes: ["create the users table (version 2)" if lost else "grant rights"],
        pyinfra_files.File: {"mode": 600} if knew_people else None,
    }
    with ctx_state.use(SimpleNamespace(is_executing=True)):
        sent = lines(users_table.migrated, facts, known="/accounts.json")
    assert sent == ["/usr/local/bin/hub-users migrate"]
    assert ("the users table is gone" in caplog.text) is (lost and knew_people)


def test_an_authority_is_added_and_one_that_left_the_settings_goes() -> None:
    """It once stayed trusted for good."""
    state = TrustState(("/usr/local/share/ca-certificates/hubstead-old.crt",))
    old = {"/usr/local/share/ca-certificates/hubstead-old.crt": PEM}
    facts = {Trust: state, Paths: old}
    write, remove, update = lines(certificates.trusted, facts, authorities={"lab": b"PEM"})
    assert write.endswith(
        f" /usr/local/share/ca-certificates/hubstead-lab.crt root root 644 {STATE}"
    )
    assert remove == "rm -rf -- /usr/local/share/ca-certificates/hubstead-old.crt"
    assert update == UPDATE


def test_a_bundle_that_a_cut_run_left_stale_is_made_anew() -> None:
    facts = {Trust: TrustState(stale=True), Paths: {}}
    assert lines(certificates.trusted, facts, authorities={}) == [UPDATE]


def test_a_bad_certificate_is_renewed() -> None:
    assert lines(internal_ca.issued, {internal_ca.CertificateIsValid: False}) == [
        "/usr/local/lib/hubstead/internal-certificate"
    ]


def test_only_missing_packages_are_asked_for() -> None:
    state = PackagesState(frozenset({"curl"}))
    (line,) = lines(installed, {Packages: state}, packages=["curl", "g++", "openssl"])
    assert line.endswith(" sh '' 'curl g++ openssl' g++ openssl")


def test_an_interrupted_dpkg_is_put_right_though_nothing_is_missing() -> None:
    state = PackagesState(frozenset({"curl"}), interrupted=True)
    (line,) = lines(installed, {Packages: state}, packages=["curl"])
    assert "dpkg --configure -a" in line and line.endswith(" sh '' curl")


def test_states_of_packages() -> None:
    """Captured; `rc` is removed with its configuration left, `iU` unpacked, `iHR` broken."""
    output = ["ii |curl", "hi |held", "rc |gone", "iU |cut", "iHR|broken", "un |never"]
    assert parse_packages(output) == PackagesState(frozenset({"curl", "held"}))
    assert parse_packages(["ii |curl", "audit|"]) == PackagesState(frozenset({"curl"}), True)
    left = parse_packages(["ii |curl", "left|theirs", "locked|"])
    assert left == PackagesState(frozenset({"curl"}), False, ("theirs",), locked=True)


def test_accounts_are_read() -> None:
    output = ["hub:x:994:994::/var/lib/hub:/usr/sbin/nologin", "hub docker"]
    state = AccountState("/var/lib/hub", "/usr/sbin/nologin", frozenset({"hub", "docker"}))
    assert parse_account(output) == state
    assert ask(Account(), "root").home == "/root"
    assert ask(Account(), "no-such-user") is None


def test_images_are_read() -> None:
    output = ["tag c000f979df02", "tag <none>", "used ada hubstead/singleuser:f6f5179c5443"]
    used = frozenset({"hubstead/singleuser:f6f5179c5443"})
    assert parse_images(output) == ImagesState(("c000f979df02",), used)
    output.append("used hubstead-holder hubstead/singleuser:c000f979df02")
    held = "hubstead/singleuser:c000f979df02"
    assert parse_images(output) == ImagesState(("c000f979df02",), used, held)


def test_the_machine_is_read() -> None:
    text = (
        '{"os": "debian", "version": "13", "codename": "trixie", "architecture": "x86_64",'
        ' "cores": 2, "memory": 24105, "systemd": true, "bare": false,'
        ' "listeners": {"22": [["sshd", "/system.slice/ssh.service"]], "80": [["x", "/"]],'
        ' "81": [["systemd", "/init.scope"], ["y", "/system.slice/y.service"]],'
        ' "82": [["systemd", "/init.scope"]]}, "init": "/init.scope"}'
    )
    state = parse_machine(text)
    assert state.listeners == {
        22: [Listener("sshd", "ssh.service")],
        80: [Listener("x", "")],
        81: [Listener("y", "y.service")],
        82: [Listener("systemd", "init.scope")],
    }
    assert (state.os, state.version, state.bare) == ("debian", "13", False)


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/jupyterhub.service/worker", "jupyterhub.service"),
        ("/system.slice/system-x.slice/x@17-main.service", "x@17-main.service"),
        ("/nginx.service", "nginx.service"),
        # by hand, and units of other managers than the system's
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/user.slice/user-1.slice/user@1.service/app.slice/nginx.service", "user@1.service"),
        ("/system.slice/docker-4f1e.scope/system.slice/nginx.service", "docker-4f1e.scope"),
        ("/lxc.payload.web/system.slice/nginx.service", ""),
        ("/", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("top", ["", "/machine.slice/hub.scope"])
def test_a_unit_is_one_of_the_system(cgroup: str, unit: str, top: str) -> None:
    assert unit_of(top + cgroup, top) == unit


def test_a_listener_of_this_machine_is_found_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        state: MachineState = ask(Machine())
        (listener,) = state.listeners[server.getsockname()[1]]
    assert listener.process == Path("/proc/self/comm").read_text().strip()
    assert state.memory > 100 and state.cores >= 1


@pytest.mark.parametrize(
    ("fact", "output"),
    [
        (Account(), ["root"]),
        (Interfaces(), ["not json"]),
        (SshConnection(), ["not four words"]),
        (Images(), ["Cannot connect to the Docker daemon"]),
        (Network(), ['[{"Name": "hubstead"}]']),
        (Paths(), ["stat words"]),
        (Login(), ["Welcome to the cluster!"]),
        (Machine(), ["Traceback"]),
        (Releases(), ["complete soon"]),
        (Unit(), ["input=never"]),
        (users_table.Changes(), ["{}"]),
    ],
)
def test_an_unreadable_answer_stops_its_host_alone(fact: FactBase[Any], output: list[str]) -> None:
    """pyinfra stops every host, with a traceback, for any other exception of a fact."""
    with pytest.raises(FactProcessError):
        fact.process(output)


def test_a_talkative_shell_is_named() -> None:
    with pytest.raises(FactProcessError, match=r"printed 'Welcome!': .*bashrc.* must print"):
        Login().process(["Welcome!"])


def test_people_are_declared_in_one_canonical_way() -> None:
    """So that the question whether they changed is asked in the same words in every run."""
    people = [{"username": "o'hara", "admin": False, "enabled": True}]
    facts = {users_table.Changes: ["create"], Which: users_table.COMMAND}
    (command,) = commands(users_table.declared, facts, people=people)
    assert command.line == "/usr/local/bin/hub-users declare --json -"
    assert command.stdin == '[{"admin": false, "enabled": true, "username": "o\'hara"}]'


@pytest.mark.parametrize(("script", "passes"), [("true", True), ("echo no; false", False)])
def test_a_check_tells_why_it_fails(script: str, passes: bool) -> None:
    reason = ask(checks.Failure(), script, 1)
    assert reason == (None if passes else "no")


def test_a_command_of_a_unit_that_fails_shows_the_last_words_of_the_unit() -> None:
    restart: Command = commands(units.running, {Unit: UnitState()}, unit="hub.service")[-1]
    assert "journalctl" in restart.line and restart.line.endswith(" sh restart hub.service")
