"""Who gets an ACME server; certificates of its API, and the files of its host."""

import runpy
import subprocess
from pathlib import Path

import pytest

from lab import acme, api, checkout, state
from lab.state import LabError, Record
from tests.unit.lab.records import record


def test_it_stays_while_a_host_asks_it(helper: Record) -> None:
    one, other = record(), record("db.example.org", 11)
    for host in (one, other):
        host.save()
        acme.note(host, True)
    acme.note(one, False)
    assert acme.idle([one, other, helper]) == []
    assert acme.idle([one, helper]) == [helper]
    assert acme.idle([one]) == []


@pytest.fixture
def helper() -> Record:
    host = record("acme.example.net", helper="acme")
    host.save()
    return host


def test_its_authority_is_strictly_valid_and_lasts_as_long_as_the_helper(
    helper: Record, tmp_path: Path
) -> None:
    acme.prepare(helper, tmp_path / "root")
    authority = helper.authority.read_bytes()
    acme.prepare(helper, tmp_path / "reset")
    assert helper.authority.read_bytes() == authority
    certificate = tmp_path / "reset/etc/lab-acme/certificate.pem"
    for option, name in (("hostname", helper.name), ("ip", helper.address)):
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver"]
        command += [f"-verify_{option}", name, "-CAfile", str(helper.authority)]
        subprocess.run([*command, str(certificate)], check=True)


def test_only_the_key_is_secret(helper: Record, tmp_path: Path) -> None:
    acme.prepare(helper, tmp_path / "root")
    files = [*helper.directory.iterdir(), *(tmp_path / "root/etc/lab-acme").iterdir()]
    closed = {file for file in files if not file.stat().st_mode & 0o044}
    assert closed == {file for file in files if file.name == "key.pem"}


def test_what_is_deployed_trusts_and_asks_it(helper: Record, tmp_path: Path) -> None:
    acme.prepare(helper, tmp_path / "root")
    state.describe(tmp_path, {helper: "ssh-ed25519 AAAA", record("a", 11): "ssh-x B"}, {})
    data = runpy.run_path(str(tmp_path / "group_data/all.py"))
    assert data["base_ca_certificates"][-1] == str(helper.authority)
    assert data["tls_acme_directory"] == f"https://{helper.name}:14000/dir"


def test_without_a_host_that_asks_there_is_none() -> None:
    record(project=str(checkout.PROJECT)).save()
    with pytest.raises(LabError, match='no host that is up has `tls` = "acme"'):
        acme.Pebble(api.Lab())
