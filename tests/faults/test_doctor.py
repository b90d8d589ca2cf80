"""A doctor for "nobody can log in": of each fault it names the culprit, and it changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conftest import Deployed
from tests.kit.certificates import Signed, names_extension, sign
from tests.kit.service import NAME, SECRETS, Service
from tests.kit.support import PROJECT, command, eventually

pytestmark = pytest.mark.slow

SCRIPT = "deploys/doctor.py"
WILDCARD = f"*.{NAME}"
#: In a file of the owner's, and nobody else's to read
SECRET = "a-password-of-the-owner"
#: The names of this machine are what they are for one run alone
_WITH_HOSTS = 'mount --bind "$1" /etc/hosts; shift; exec "$@"'
_LOGIN_PAGE = (
    f"curl -sk -m 5 -o /dev/null -w '%{{http_code}}' --resolve {NAME}:443:127.0.0.1"
    f" https://{NAME}/hub/login || true"
)


@dataclass(frozen=True)
class Fault:
    """How something breaks on the host and is put right, and what the doctor says of it.

    + cause: the parts that fail, in their order; `follows` are among those that follow from it.
    + words: in what is said, or to be done.
    """

    make: str
    mend: str
    cause: Sequence[str]
    words: str
    follows: Sequence[str] = ()


def stopped(unit: str, cause: str, *follows: str, start: str = "") -> Fault:
    words = f"`systemctl start {unit}`"
    return Fault(
        f"systemctl stop {start or unit}",
        f"systemctl start {start or unit}",
        [cause],
        words,
        follows,
    )


_CONF_D = f"""
printf 'c.Hub.made_up = "{SECRET}"\\nc.Hub.other = "{SECRET}\\n' >/etc/jupyterhub/conf.d/own.py
systemctl restart --no-block jupyterhub
sleep 4
"""
_IMAGE = "docker tag $(cat /run/image) $(cat /opt/hubstead/singleuser/image)"
_NO_IMAGE = """
docker image inspect --format '{{.Id}}' $(cat /opt/hubstead/singleuser/image) >/run/image
docker image rm --force $(cat /opt/hubstead/singleuser/image)
"""
_TMPFS = "mount -t tmpfs -o mode=711,size={} disk /srv/hubstead/files"
_NO_DISK = "umount /srv/hubstead/files"
FAULTS = {
    "PostgreSQL": stopped(
        "postgresql@{version}-main.service",
        "database",
        "accounts",
        start="postgresql@{version}-main",
    ),
    "the Hub": stopped("jupyterhub.service", "hub", "page", "outside"),
    "a line of the owner's": Fault(
        _CONF_D,
        "rm /etc/jupyterhub/conf.d/own.py; systemctl restart jupyterhub",
        ["configuration"],
        "/etc/jupyterhub/conf.d/own.py, line 2: SyntaxError",
        ["hub", "page"],
    ),
    "the proxy": stopped("traefik.service", "proxy", "page", "outside"),
    "Docker": stopped(
        "docker.service", "docker", "filter", "image", start="docker.socket docker.service"
    ),
    "the filter": stopped("hubstead-docker-filter.socket", "filter"),
    "the image": Fault(_NO_IMAGE, _IMAGE, ["image"], "systemctl restart hubstead-holder"),
    "people's files": stopped("hubstead-people-files.socket", "files"),
    "a full disk": Fault(
        _TMPFS.format("1m"), _NO_DISK, ["disk"], "/srv/hubstead/files has 1 MiB free"
    ),
    "a disk with many files": Fault(
        _TMPFS.format("50m,nr_inodes=20"), _NO_DISK, ["disk"], "more files (`df -i`)"
    ),
    "the firewall": Fault(
        "iptables -D INPUT -j HUBSTEAD-INPUT",
        "systemctl restart hubstead-firewall",
        ["firewall"],
        "systemctl restart hubstead-firewall",
    ),
    "another program's firewall": Fault(
        "iptables -I INPUT -p tcp --dport 443 ! -i lo -j REJECT",
        "iptables -D INPUT -p tcp --dport 443 ! -i lo -j REJECT",
        ["firewall"],
        "others come before them",
        ["outside"],
    ),
}


@dataclass(frozen=True)
class Report:
    """What the doctor said, by part, and how it ended."""

    status: int
    parts: dict[str, dict[str, Any]]
    output: str

    def of(self, state: str) -> list[str]:
        return [name for name, part in self.parts.items() if part["state"] == state]


class Patient:
    """The host, and a doctor for whom the service's names lead there."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def hosts(self, address: str | None) -> Path:
        """An /etc/hosts of this machine's with the service at an address."""
        file = self.service.directory / "hosts"
        names = f"{address} {NAME} any.{NAME}\n" if address else ""
        file.write_text(f"127.0.0.1 localhost\n{names}")
        return file

    def doctor(
        self, *arguments: str, at: str | None = "its own", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        hosts = self.hosts(self.service.address if at == "its own" else at)
        words = [word for word in command(self.service.inventory, *arguments) if word != "--json"]
        return subprocess.run(
            ["unshare", "--mount", "sh", "-euc", _WITH_HOSTS, "sh", str(hosts), *words, SCRIPT],
            cwd=PROJECT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def report(self, at: str | None = "its own", env: dict[str, str] | None = None) -> Report:
        done = self.doctor("--data", "doctor_json=true", at=at, env=env)
        assert done.stdout.startswith("{"), done.stderr
        document = json.loads(done.stdout)
        assert document["status"] == done.returncode
        parts = {part["part"]: part for part in document["parts"]}
        assert len(parts) == len(document["parts"])
        return Report(done.returncode, parts, done.stdout + done.stderr)

    def check_says(self, fault: Fault, report: Report) -> None:
        assert report.status == 1
        assert report.of("fails") == list(fault.cause), report.output
        (part,) = [report.parts[name] for name in fault.cause]
        assert fault.words in part["said"] + part["mend"], report.output
        assert set(fault.follows) <= set(report.of("follows")), report.output
        for name in report.of("follows"):
            causes = [cause["part"] for cause in report.parts[name]["because"]]
            assert causes == list(fault.cause), report.output
        assert SECRET not in report.output

    def recover(self) -> None:
        """Wait until people get in, and servers can start."""
        there = "docker top hubstead-holder 2>/dev/null | wc -l"
        eventually(
            "the login page is there",
            lambda: self.service.sudo(_LOGIN_PAGE) == "200" and int(self.service.sudo(there)) > 1,
        )


@pytest.fixture(scope="module")
def patient(deployed: Deployed) -> Iterator[Patient]:
    patient = Patient(deployed.alone())
    patient.recover()
    yield patient


def state(service: Service) -> list[Any]:
    """What anybody could change by looking."""
    containers = service.sudo("docker ps --all --no-trunc --format '{{.ID}} {{.State}}' | sort")
    return [service.manifest(), service.units(), containers]


def test_a_healthy_host_is_left_alone(patient: Patient) -> None:
    before = state(patient.service)
    report = patient.report()
    assert (report.status, report.of("holds")) == (0, list(report.parts)), report.output
    text = patient.doctor()
    assert (text.returncode, text.stdout.splitlines()[-1]) == (0, "All holds."), text.stdout
    plan = patient.doctor("--dry")
    assert (plan.returncode, len(plan.stdout.splitlines())) == (0, len(text.stdout.splitlines()))
    assert state(patient.service) == before
    for secret in json.loads(SECRETS.read_text()).values():
        assert secret not in report.output + text.stdout + text.stderr


@pytest.mark.parametrize("name", FAULTS)
def test_the_culprit_is_named(patient: Patient, name: str) -> None:
    service, fault = patient.service, FAULTS[name]
    version = service.sudo("ls /etc/postgresql").strip()
    make, mend, words = (
        text.replace("{version}", version) for text in (fault.make, fault.mend, fault.words)
    )
    service.sudo(make)
    began = time.monotonic()
    try:
        report = patient.report()
    finally:
        took = time.monotonic() - began
        service.sudo(mend)
    patient.check_says(Fault("", "", fault.cause, words, fault.follows), report)
    assert took < 60, took
    patient.recover()


def test_a_certificate_that_has_ended(patient: Patient) -> None:
    service = patient.service
    key = serialization.load_pem_private_key(
        service.sudo("cat /etc/hubstead/tls/ca-key.pem").encode(), None
    )
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    root = service.sudo("cat /etc/hubstead/tls/ca.pem")
    authority = Signed(x509.load_pem_x509_certificate(root.encode()), key)
    ended = sign("A host", authority, names_extension([NAME, WILDCARD]), days=-1)
    install = "/usr/local/lib/hubstead/install-certificate /etc/hubstead/tls"
    service.sudo("cat >/run/ended.pem", input=ended.pem.decode())
    service.sudo("umask 077; cat >/run/ended.key", input=ended.key_pem.decode())
    service.sudo(f"{install} /run/ended.pem /run/ended.key; rm /run/ended.*; sleep 3")
    report = patient.report()
    service.sudo("hubstead-certificate renew")
    fault = Fault("", "", ["certificate"], "has ended: notAfter=", ["page", "outside"])
    patient.check_says(fault, report)
    assert "hubstead-certificate renew" in report.parts["certificate"]["mend"]
    eventually("it is another", lambda: patient.report().status == 0)


@pytest.mark.parametrize(("offset", "words"), [("+1h", "behind"), ("-1h", "ahead of")])
def test_a_clock_that_is_an_hour_off(patient: Patient, offset: str, words: str) -> None:
    """That of this machine is, which lab hosts share (test_bad_hosts)."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    report = patient.report(env={"LD_PRELOAD": str(library), "FAKETIME": offset})
    said = f"its clock is 60 minutes {words} that of this machine"
    patient.check_says(Fault("", "", ["clock"], said), report)


@pytest.mark.parametrize(
    ("at", "words", "follows"),
    [
        ("127.0.0.1", f"{NAME} has 127.0.0.1 here", ["outside"]),
        (None, f"{NAME} has no address here", []),
    ],
)
def test_a_name_that_leads_elsewhere(
    patient: Patient, at: str | None, words: str, follows: list[str]
) -> None:
    patient.check_says(Fault("", "", ["names"], words, follows), patient.report(at=at))


def test_a_host_that_does_not_answer(patient: Patient) -> None:
    done = patient.doctor("--data", "ssh_port=9", "--data", "doctor_json=true")
    assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
