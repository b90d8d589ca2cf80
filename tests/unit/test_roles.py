"""Whole roles on hosts that only pretend: the plan, its names, its secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from hubstead.operations.disks import DOCKER
from hubstead.secrets import SecretsError
from tests.unit.plans import DEBIAN_12, DEBIAN_13, HUB, Plan, disk


def made_secrets(directory: Path) -> dict[str, str]:
    (file,) = (directory / ".secrets").rglob("*.json")
    values: dict[str, str] = json.loads(file.read_text())
    return values


@pytest.mark.parametrize("machine", [DEBIAN_13, DEBIAN_12], ids=["trixie", "bookworm"])
def test_a_bare_host_gets_a_whole_plan(plan: Plan, machine: dict[str, Any]) -> None:
    run = plan(machine=machine)
    changing = run.changing
    for name in (
        "base | Install the base packages",
        "python | Build the release of uv",
        "postgres | Create the Hub's database",
        "userdb | Declare the people of the settings",
        "docker | Create the users' network",
        "singleuser | Build the image of the users' servers",
        "tls | Issue the certificate",
        "jupyterhub | Run JupyterHub",
        "firewall | Enforce the firewall's rules",
    ):
        assert name in changing
    assert changing.index("base | Install the base packages") == 1
    assert changing.index("traefik | Run Traefik") < changing.index("jupyterhub | Run JupyterHub")


def test_a_plan_writes_nothing(plan: Plan) -> None:
    """Every command of a plan is a fact, and none of them takes standard input."""
    run = plan()
    assert len(run.sent.commands) > 30
    assert not any(run.sent.inputs)
    for word in ("apt-get", "useradd", "mkdir", "chown", "rm -rf", "systemctl restart", "base64"):
        assert not [command for command in run.sent.commands if word in command]


def test_each_debian_gets_its_own_packages(plan: Plan) -> None:
    run = plan(machine=DEBIAN_12)
    run.execute()
    commands = "\n".join(run.sent.commands)
    assert "postgresql-15" in commands and "postgresql-17" not in commands
    assert "docker-buildx" not in commands


def test_every_operation_has_a_name_of_its_own(plan: Plan) -> None:
    """One without a name prints its arguments, which may be secret."""
    run = plan()
    assert [meta.names for meta in run.state.op_meta.values() if meta.args] == []
    assert len(run.names) == len(set(run.names))


def test_no_secret_is_in_a_command(plan: Plan, tmp_path: Path) -> None:
    run = plan()
    run.execute()
    values = made_secrets(tmp_path)
    assert len(values) >= 6
    commands = "\n".join(run.sent.commands)
    for name, value in values.items():
        assert value not in commands, name
    # what is made of a secret: a verifier, a line of htpasswd
    assert "SCRAM-SHA-256$4096" not in commands
    assert "$2b$" not in commands
    # they do travel, on standard input
    assert any("SCRAM-SHA-256$4096" in text for text in run.sent.inputs)


def test_no_secret_is_printed(
    plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    run = plan()
    run.state.print_input = run.state.print_output = run.state.print_noop_info = True
    run.execute()
    printed = caplog.text + "".join(capfd.readouterr())
    assert "Create the Hub's role" in printed
    for name, value in made_secrets(tmp_path).items():
        assert value not in printed, name


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("hub_cookie_secret", {}),
        ("hub_metrics_token", {}),
        ("postgres_userdb_reader_password", {}),
        ("traefik_api_password", {}),
        ("chp_auth_token", {"proxy": "chp"}),
        ("login_secret_key", {"application": "jupyterlab", "edge": "nginx"}),
    ],
)
def test_a_secret_of_no_use_is_refused_before_a_host_is_touched(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, name: str, data: dict[str, Any]
) -> None:
    monkeypatch.setenv(f"HUBSTEAD_{name.upper()}", "schlüssel")
    with pytest.raises(SecretsError, match=f"`{name}`") as caught:
        plan(data=data)
    assert "schlüssel" not in str(caught.value)


def test_a_second_run_makes_no_new_secret(plan: Plan, tmp_path: Path) -> None:
    plan()
    values = made_secrets(tmp_path)
    plan()
    assert made_secrets(tmp_path) == values


def test_each_tier_has_its_own_host(plan: Plan) -> None:
    run = plan(hub=[HUB], db=["@fake/db.example.org"])
    db: Host = run.state.inventory.get_host("@fake/db.example.org")
    hub: Host = run.state.inventory.get_host(HUB)

    def names(host: Host) -> set[str]:
        return {next(iter(run.state.op_meta[op].names)) for op in run.state.ops[host]}

    assert "postgres | Install PostgreSQL" in names(db) - names(hub)
    assert "jupyterhub | Run JupyterHub" in names(hub) - names(db)
    assert "base | Install the base packages" in names(db) & names(hub)


UNFIT = [
    ({"os": "ubuntu", "version": "24.04"}, ["ubuntu 24.04", "Debian 12 and 13"]),
    ({"version": "11", "codename": "bullseye"}, ["debian 11", "Debian 12 and 13"]),
    ({"architecture": "riscv64"}, ["riscv64", "x86_64 and aarch64"]),
    ({"systemd": False}, ["without systemd"]),
]


@pytest.mark.parametrize("deploy", ["all", "base", "postgres", "docker", "traefik", "jupyterhub"])
@pytest.mark.parametrize(("difference", "words"), UNFIT)
def test_an_unfit_host_is_refused_by_name(
    plan: Plan, deploy: str, difference: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(PyinfraError) as caught:
        plan(deploy, DEBIAN_13 | difference)
    for word in [HUB, *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


VDA, VDB = ("/dev/vda1", "/"), ("/dev/vdb", "/data")


@pytest.mark.parametrize(
    ("bare", "disks", "words"),
    [
        # one for all
        (
            True,
            [("/", 900, *VDA), ("/usr", 900, *VDA), (DOCKER, 900, *VDA)],
            ["/ has 900 MiB free"],
        ),
        (False, [("/", 9, *VDA), ("/usr", 9, *VDA)], ["/ has 9 MiB free", "needs 60 there"]),
        # one with enough for either, and not for both
        (
            True,
            [("/", 9000, *VDA), (DOCKER, 1500, *VDB), ("/opt/hubstead", 1500, *VDB)],
            ["/data has 1500 MiB free", "needs 2100 there", f"for {DOCKER}, /opt/hubstead"],
        ),
        # two, each without
        (
            True,
            [("/", 20, *VDA), (DOCKER, 100, *VDB)],
            ["/ has 20 MiB free", "/data has 100 MiB free"],
        ),
    ],
)
def test_each_full_file_system_is_named(
    plan: Plan, bare: bool, disks: list[tuple[str, int, str, str]], words: list[str]
) -> None:
    answer = "\n".join(disk(*each) for each in disks)
    with pytest.raises(PyinfraError, match=f"{HUB}: the disk is full") as caught:
        plan(machine=DEBIAN_13 | {"bare": bare}, responses={"df --block": answer})
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_deployed_host_has_by_now_needs_no_room(plan: Plan) -> None:
    """The users' image is built, and people's files are theirs to fill the disk with."""
    places = [("/", 300, *VDA), (DOCKER, 0, *VDB), ("/srv/hubstead/files", 0, *VDB)]
    answer = "\n".join(disk(*each) for each in places)
    assert plan(machine=DEBIAN_13 | {"bare": False}, responses={"df --block": answer}).names


def test_a_disk_that_fills_while_a_run_is_at_work_is_named(
    plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    answers: dict[str, Any] = {"useradd": {"success": False, "stderr": "failure while writing"}}
    run = plan(responses=answers)
    host: Host = run.state.inventory.get_host(HUB)
    host.connector.data["fake_responses"]["df --block"] = disk("/", 3)
    with pytest.raises(PyinfraError):
        run.execute()
    (said,) = [record.message for record in caplog.records if "full" in record.message]
    assert said.startswith(f"{HUB}: the disk is full by now. / has 3 MiB free, and this run needs ")
    assert said.endswith("Make room, then run again: that goes on where this run ended.")


def test_a_removal_needs_no_room(plan: Plan) -> None:
    """It makes some."""
    there = DEBIAN_13 | {"bare": False, "roles": ["jupyterhub"]}
    names = {"hub_names": ["hub.example.org"], "remove_service": "hub.example.org"}
    run = plan("remove", there, names, {"df --block": disk("/", 0)})
    assert "jupyterhub | Stop JupyterHub" in run.names


@pytest.mark.parametrize(
    ("role", "port", "key"),
    [
        ("traefik", 80, "edge_http_port"),
        ("traefik", 443, "edge_https_port"),
        ("jupyterhub", 8081, "hub_api_port"),
    ],
)
def test_a_port_of_someone_else_is_named_with_its_setting(
    plan: Plan, role: str, port: int, key: str
) -> None:
    taken = DEBIAN_13 | {"listeners": {str(port): [["apache2", ""], ["nginx", ""]]}}
    with pytest.raises(PyinfraError) as caught:
        plan(role, taken)
    assert str(caught.value).startswith(f"{HUB}: port {port} is taken by apache2, nginx")
    assert f"set `{key}` to a free port" in str(caught.value)
    assert plan(role, taken, {key: 8444}).names


def test_the_timer_is_a_setting(plan: Plan) -> None:
    timer = "singleuser | Look for updates of it twice a day"
    assert timer in plan("docker").changing
    without = plan("docker", data={"docker_image_refresh": False}).names
    assert timer not in without and "singleuser | Remove the timer" in without
