"""Doctor: what it asks of which host, and how it tells a cause from what follows."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra_cli.util import load_deploy_file

from hubstead import diagnosis
from hubstead import doctor as module
from hubstead.diagnosis import SUBJECTS, Finding
from hubstead.operations.checks import Check
from hubstead.operations.disks import parse_disks
from hubstead.operations.firewall import RULES_V4
from tests.kit.authority import serving
from tests.kit.certificates import names_extension, sign
from tests.unit.plans import DEBIAN_13, HUB, PROJECT, Plan, disk

DB, EDGE = "@fake/db.example.org", "@fake/edge.example.org"
THREE = {"edge": [EDGE], "hub": [HUB], "db": [DB]}
NAME = "hub.example.org"
POSTGRES = "postgresql@17-main.service"
DEPLOYED = DEBIAN_13 | {"bare": False}
ADDRESS = "192.0.2.4"
CHOICES: list[tuple[dict[str, Any], dict[str, list[str]]]] = [
    ({"proxy": proxy, "edge": edge}, hosts)
    for proxy in ("traefik", "chp")
    for edge in ("none", "nginx", "apache")
    for hosts in ({"hub": [HUB]}, THREE)
    if edge != "none" or hosts != THREE
]

#: Ways to log in, with what each needs
ACCOUNTS: dict[str, dict[str, Any]] = {
    "users-table": {},
    "oidc": {
        "hub_oidc_client_id": "hub",
        "hub_oidc_issuer": "https://id.example.net/realms/lab",
        "hub_allowed_users": ["ada"],
    },
    "github": {
        "hub_github_client_id": "hub",
        "hub_github_url": "https://id.example.net",
        "hub_allowed_users": ["ada"],
    },
    "google": {"hub_google_client_id": "hub", "hub_google_domain": "example.org"},
    "ldap": {
        "hub_ldap_url": ["ldaps://id.example.net"],
        "hub_ldap_base": "ou=people,dc=example,dc=org",
        "hub_allowed_users": ["ada"],
    },
    "pam": {"hub_allowed_users": ["ada"]},
    "saml": {"hub_saml_metadata": "idp.xml", "hub_allowed_users": ["ada"]},
}
#: The status, and the document
Doctor = Callable[..., tuple[int, dict[str, Any]]]


class Hosts:
    """Hosts that pretend to look: which units are stopped there, and which scripts fail."""

    def __init__(self) -> None:
        self.stopped: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []

    def answers(self, questions: dict[str, dict[str, Any]]) -> dict[str, Any]:
        self.asked += questions.values()
        return {number: self.answer(each) for number, each in questions.items()}

    def answer(self, each: dict[str, Any]) -> dict[str, Any]:
        for unit in each["units"]:
            if unit in self.stopped:
                return {"holds": False, "said": self.stopped[unit], "unit": unit}
        for words, said in self.refused.items():
            if words in each["script"]:
                return {"holds": False, "said": said}
        return {"holds": True, "said": "512 MiB are free"}


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    hosts, original = Hosts(), FakeConnector.run_shell_command

    def run(self: FakeConnector, command: Any, **arguments: Any) -> Any:
        text = command if isinstance(command, str) else command.get_raw_value()
        if "Look at a host without leaving a trace" in text:
            answers = hosts.answers(json.loads(arguments["_stdin"]))
            return True, CommandOutput([OutputLine("stdout", json.dumps(answers))])
        return original(self, command, **arguments)

    monkeypatch.setattr(FakeConnector, "run_shell_command", run)
    return hosts


@pytest.fixture
def doctor(plan: Plan, hosts: Hosts, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Doctor:
    monkeypatch.setattr(module, "_resolved", lambda name: {ADDRESS})

    def look(
        data: dict[str, Any] | None = None,
        machine: dict[str, Any] = DEPLOYED,
        responses: dict[str, str] | None = None,
        **tiers: list[str],
    ) -> tuple[int, dict[str, Any]]:
        everything = {"hub_names": [NAME], "firewall": False, "doctor_json": True, **(data or {})}
        with pytest.raises(SystemExit) as ended:
            plan("doctor", machine, everything, responses, **tiers)
        document = json.loads(capsys.readouterr().out)
        assert document["status"] == ended.value.code
        return document["status"], document

    return look


def of(document: dict[str, Any], state: str) -> list[tuple[str, str]]:
    """Host and part of those in a state."""
    return [(p["host"], p["part"]) for p in document["parts"] if p["state"] == state]


@pytest.mark.parametrize(("data", "tiers"), CHOICES)
def test_nothing_is_wrong_whatever_stands_where(
    doctor: Doctor, data: dict[str, Any], tiers: dict[str, list[str]]
) -> None:
    status, document = doctor(data, **tiers)
    found = [(part["host"], part["part"]) for part in document["parts"]]
    assert (status, of(document, "holds")) == (0, found), document
    front = tiers.get("edge", [HUB])[0]
    db = tiers.get("db", [HUB])[0]
    assert {(front, "certificate"), (front, "outside"), (HUB, "hub"), (db, "database")} <= {*found}
    assert ((front, "edge") in found) == (data["edge"] != "none")
    assert not set(SUBJECTS) & {"login", "lab"} & {part for _, part in found}


@pytest.mark.parametrize("authenticator", ACCOUNTS)
def test_whoever_knows_the_people_is_asked(
    doctor: Doctor, hosts: Hosts, authenticator: str
) -> None:
    data = {"hub_authenticator": authenticator} | ACCOUNTS[authenticator]
    status, document = doctor(data)
    assert (status, (HUB, "accounts") in of(document, "holds")) == (0, True)
    named = [each["script"] for each in hosts.asked if "id.example.net" in each["script"]]
    if "id.example.net" in json.dumps(data):
        assert any("getent" in script for script in named)
        hosts.refused = {"id.example.net": "no address"}
        _, document = doctor(data)
        assert of(document, "fails") == [(HUB, "addresses")]


def test_where_people_share_a_jupyterlab(doctor: Doctor, hosts: Hosts) -> None:
    data = {"application": "jupyterlab", "edge": "nginx", "hub_names": [NAME]}
    assert doctor(data)[0] == 0
    hosts.stopped = {"jupyterlab.service": "failed (exit-code)"}
    status, document = doctor(data)
    assert (status, of(document, "fails")) == (1, [(HUB, "lab")])
    (part,) = [part for part in document["parts"] if part["state"] == "fails"]
    assert part["said"] == "jupyterlab.service is failed (exit-code)"
    assert part["mend"].startswith("`journalctl -u jupyterlab.service -n 50` says why")


def test_a_database_of_another_host_is_the_cause(doctor: Doctor, hosts: Hosts) -> None:
    hosts.stopped = {POSTGRES: "inactive"}
    hosts.refused = {"hub-users": "cannot reach the database", "hub/metrics": "503"}
    status, document = doctor({"edge": "nginx"}, **THREE)
    assert (status, of(document, "fails")) == (1, [(DB, "database")])
    assert of(document, "follows") == [(HUB, "accounts"), (HUB, "hub"), (DB, "certificate")]
    for part in document["parts"]:
        because = [{"host": DB, "part": "database"}] if part["state"] == "follows" else []
        assert part["because"] == because


def test_two_faults_that_have_nothing_to_do_with_each_other(doctor: Doctor, hosts: Hosts) -> None:
    hosts.stopped = {"jupyterhub.service": "inactive", "hubstead-docker-filter.socket": "inactive"}
    assert of(doctor()[1], "fails") == [(HUB, "filter"), (HUB, "hub")]


def test_it_never_wakes_what_is_stopped(doctor: Doctor, hosts: Hosts) -> None:
    """Whoever asks Docker's socket starts Docker, and nothing may be run in it."""
    doctor()
    for each in hosts.asked:
        assert "docker run" not in each["script"]
        if "docker " in each["script"] or "docker-filter.sock" in each["script"]:
            assert "docker.service" in each["units"], each


def test_no_secret_travels(doctor: Doctor, hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBSTEAD_POSTGRES_JUPYTERHUB_PASSWORD", "a-secret-of-the-database")
    _, document = doctor()
    assert "a-secret" not in json.dumps([document, hosts.asked])


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (disk("/var", 3), "/ has 3 MiB free, and needs "),
        (disk("/srv/hubstead/files", 9, "/dev/vdb1", "/srv"), "/srv has 9 MiB free, and needs 10"),
        (disk("/", 9000, inodes="7 1000000"), "/ has room for 7 more files (`df -i`)"),
    ],
)
def test_a_full_disk(doctor: Doctor, places: str, said: str) -> None:
    _, document = doctor(responses={"df --block": places})
    assert of(document, "fails") == [(HUB, "disk")]
    (part,) = [part for part in document["parts"] if part["state"] == "fails"]
    assert said in part["said"]


def test_a_file_system_without_a_number_of_files() -> None:
    """As df(1) has it of btrfs, and of a tmpfs."""
    lines = ["/\t/\t10 0 0 /dev/vda /", "/x\t/x\t10 - - d /x", "/y\t/y\t10 5 9 disk of mine /y z"]
    found = [each.inodes for _, each in parse_disks(lines).values()]
    assert found == [None, None, 5]


def test_a_clock_and_a_disk_do_not_keep_it_from_the_rest(doctor: Doctor) -> None:
    machine = DEPLOYED | {"clock": 0, "read_only": ["/var"]}
    _, document = doctor(machine=machine)
    assert of(document, "fails") == [(HUB, "clock"), (HUB, "disk")]
    assert (HUB, "hub") in of(document, "holds")


def test_rules_that_are_gone(doctor: Doctor) -> None:
    kept = {RULES_V4: "4*filter\n4:HUBSTEAD-INPUT - [0:0]\n4-I INPUT -j HUBSTEAD-INPUT\n4COMMIT"}
    live = {"tool $tool": "tool iptables\n-P INPUT ACCEPT\n-N HUBSTEAD-INPUT"}
    jump = "\n-A INPUT -j HUBSTEAD-INPUT"
    asked: dict[str, Any] = {"data": {"firewall": True}}
    _, document = doctor(**asked, responses=kept | live)
    assert of(document, "fails") == [(HUB, "firewall")]
    in_force = {"tool $tool": live["tool $tool"] + jump}
    assert doctor(**asked, responses=kept | in_force)[0] == 0


@pytest.mark.parametrize("found", [set(), {"203.0.113.7"}])
def test_a_name_that_does_not_lead_here(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, found: set[str]
) -> None:
    monkeypatch.setattr(module, "_resolved", lambda name: found)
    monkeypatch.setattr(module.outside, "reason", lambda page, port, authority: "refused")
    _, document = doctor()
    assert of(document, "fails") == [(HUB, "names")]
    assert of(document, "follows") == [(HUB, "outside")]


def test_an_address_in_front_of_the_hosts_own(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a cloud, which the host does not know."""
    monkeypatch.setattr(module, "_resolved", lambda name: {"203.0.113.7"})
    assert doctor()[0] == 0


def test_names_are_not_asked_for_where_this_machine_is_not_to(doctor: Doctor) -> None:
    status, document = doctor({"edge_ask_from_here": False})
    assert (status, of(document, "unasked")) == (0, [(HUB, "names"), (HUB, "outside")])


def test_a_bare_host(doctor: Doctor) -> None:
    _, document = doctor(machine=DEBIAN_13)
    assert of(document, "fails") == [(HUB, "deployed")]


def test_a_host_that_cannot_be_asked(doctor: Doctor) -> None:
    status, document = doctor(machine=DEPLOYED | {"root": False})
    assert (status, of(document, "fails")) == (2, [(HUB, "host")])


def test_it_runs_alone(plan: Plan) -> None:
    run = plan("verify", DEPLOYED)
    with pytest.raises(PyinfraError, match="runs alone"):
        load_deploy_file(run.state, str(PROJECT / "deploys/doctor.py"))


def test_each_subject_comes_after_what_it_rests_on() -> None:
    known: set[str] = set()
    for name, subject in SUBJECTS.items():
        assert set(subject.rests_on) <= known, name
        known.add(name)
        assert (PROJECT / "docs" / subject.page).is_file()


def said(findings: Sequence[Finding], homes: dict[str, str] | None = None) -> list[str]:
    return diagnosis.text(diagnosis.diagnoses(findings, homes or {})).splitlines()


def test_a_host_that_does_not_answer_is_why_others_fail() -> None:
    findings = [
        Finding("db", "host", False, "it does not answer over SSH", "look"),
        Finding("hub", "host", True),
        Finding("hub", "accounts", False, "no route to host"),
    ]
    assert said(findings, {"database": "db"}) == [
        "fails   The host on db: it does not answer over SSH. Do: look (docs/own.md)",
        "follows What knows people's accounts on hub: no route to host; of: The host on db",
        "holds   The host on hub answers",
        "",
        "To be mended: The host on db",
    ]
    assert diagnosis.status(diagnosis.diagnoses(findings, {})) == 2


def test_of_one_subject_the_first_that_is_wrong_is_told() -> None:
    findings = [
        Finding("hub", "hub", True),
        Finding("hub", "hub", False, "one", "mend one"),
        Finding("hub", "hub", False, "another", "mend another"),
    ]
    assert said(findings)[0] == "fails   The Hub: one. Do: mend one (docs/hosts.md)"


def test_checks_name_subjects_alone(monkeypatch: pytest.MonkeyPatch, doctor: Doctor) -> None:
    made: list[Check] = []
    original = module._checks

    def noted(site: Any) -> list[Check]:
        made.extend(original(site))
        return list(original(site))

    monkeypatch.setattr(module, "_checks", noted)
    for data, tiers in CHOICES:
        doctor(data, **tiers)
    assert {check.of for check in made} <= set(SUBJECTS)


def run_script(script: str, *words: str) -> tuple[int, str]:
    """How a script of the doctor's ends on this machine, and what it says."""
    done = subprocess.run(
        ["sh", "-c", f"set -- {shlex.join(words)}\n{script}"], capture_output=True, text=True
    )
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "days", "trusted", "said"),
    [
        (NAME, 90, True, ""),
        ("any.hub.example.org", 90, True, ""),
        (NAME, -1, True, "that of hub.example.org on port {} has ended: notAfter="),
        ("other.example.org", 90, True, "that on port {} is not for other.example.org"),
        (NAME, 90, False, "that of hub.example.org on port {} is of another authority than "),
    ],
)
def test_certificates_are_asked_for_as_people_do(
    tmp_path: Path, name: str, days: int, trusted: bool, said: str
) -> None:
    constraint = x509.BasicConstraints(ca=True, path_length=0)
    root, other = (sign(who, None, constraint) for who in ("Ours", "Another"))
    host = sign("A host", root, names_extension([NAME, f"*.{NAME}"]), days=days)
    for file, text in (
        ("ca.pem", (root if trusted else other).pem),
        ("cert.pem", host.pem),
        ("key.pem", host.key_pem),
    ):
        (tmp_path / file).write_bytes(text)
    with serving((tmp_path / "cert.pem", tmp_path / "key.pem")) as port:
        words = "tls", str(port), name, str(tmp_path / "ca.pem")
        status, text = run_script(module._CERTIFICATE, *words)
    assert status == (1 if said else 0)
    assert text.startswith(said.format(port)) if said else text == ""
    status, text = run_script(module._CERTIFICATE, *words)
    assert (status, text) == (1, f"port {port} shows none for {name}")


def test_names_that_are_needed_on_a_host() -> None:
    words = "needed:localhost", "told:nobody.invalid"
    status, text = run_script(module._ADDRESSES, *words)
    assert (status, text.split("; ")[1]) == (0, "nobody.invalid has no address there")
    status, text = run_script(module._ADDRESSES, "needed:localhost", "needed:nobody.invalid")
    assert (status, text) == (1, "no address there for nobody.invalid")


def test_of_what_is_in_an_owners_file_no_word_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("c.Hub.name = 'fine'\n")
    words = [sys.executable, "-I", "-c", module._COMPILED, str(tmp_path)]
    assert subprocess.run(words, capture_output=True).stderr == b""
    (tmp_path / "b.py").write_text("x = 1\nc.Hub.password = 'hunter2\n")
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path}/b.py, line 2: SyntaxError\n")


def test_a_host_that_does_not_answer_keeps_nobody_from_being_asked(tmp_path: Path) -> None:
    inventory = tmp_path / "two.py"
    # port 1, tcpmux, is closed everywhere; what pretends says nothing of itself
    inventory.write_text(
        'hub = [("@fake/hub", {"fake_delay": 0, "fake_delay_jitter": 0, "doctor_json": True})]\n'
        'db = [("db.example.org", {"ssh_hostname": "127.0.0.1", "ssh_port": 1})]\n'
    )
    words = ["-y", "--group-data", str(tmp_path), str(inventory), "deploys/doctor.py"]
    words += ["--data", "hub_people_trust_each_other=true"]
    done = subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), *words],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    document = json.loads(done.stdout)
    assert (done.returncode, document["status"]) == (2, 2), done.stderr
    parts = {part["host"]: (part["part"], part["said"]) for part in document["parts"]}
    assert parts == {
        "db.example.org": ("host", "it does not answer over SSH"),
        "@fake/hub": (
            "host",
            "@fake/hub does not say what it is: Python 3 and sudo have to work there.",
        ),
    }
