"""The lab's ACME server certifies names that point to the host that asks, and no others."""

from __future__ import annotations

import subprocess

import pytest

from lab import Lab
from lab.acme import Pebble
from tests.kit.support import PROJECT

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/acme_client.py"
HOST = "acmetest13.example.org"
NAMES = [HOST, "acmetest.example.org"]
FILES = f"/etc/letsencrypt/live/{HOST}"


@pytest.fixture(scope="module", autouse=True)
def _certbot(lab: Lab, acme: Pebble) -> None:
    lab.run(
        HOST,
        "sudo install -D /dev/stdin /usr/local/share/ca-certificates/lab.crt &&"
        " sudo apt-get update &&"
        " sudo DEBIAN_FRONTEND=noninteractive apt-get -y install --no-install-recommends certbot",
        input=acme.authority.read_text(),
    )


def certbot(lab: Lab, acme: Pebble, names: list[str]) -> subprocess.CompletedProcess[str]:
    """Ask for a new certificate."""
    options = "--standalone --agree-tos --register-unsafely-without-email --force-renewal"
    wanted = " ".join(f"-d {name}" for name in names)
    return lab.run(
        HOST, f"sudo certbot certonly -n {options} --server {acme.directory} {wanted}", check=False
    )


def test_it_certifies_the_names_of_the_host(lab: Lab, acme: Pebble) -> None:
    done = certbot(lab, acme, NAMES)
    assert done.returncode == 0, done.stderr
    lab.run(HOST, "cat >root.pem", input=acme.root())
    for name in NAMES:
        lab.run(
            HOST,
            f"sudo openssl verify -x509_strict -verify_hostname {name} -CAfile root.pem"
            f" -untrusted {FILES}/chain.pem {FILES}/cert.pem",
        )


def test_it_refuses_names_that_point_elsewhere(lab: Lab, acme: Pebble) -> None:
    done = certbot(lab, acme, [acme.name, "nowhere.example.org"])
    assert done.returncode == 1
    for reason in ("connection refused", "lookup nowhere.example.org: no such host"):
        assert reason in done.stdout + done.stderr
    assert lab.run(HOST, "sudo ls /etc/letsencrypt/live").stdout.split() == ["README", HOST]


def test_it_goes_down_and_knows_its_accounts_afterwards(lab: Lab, acme: Pebble) -> None:
    root = acme.root()
    acme.stop()
    assert "Connection refused" in certbot(lab, acme, NAMES).stderr
    acme.limit()
    assert "too many new orders" in certbot(lab, acme, NAMES).stderr
    acme.start()
    done = certbot(lab, acme, NAMES)
    assert done.returncode == 0, done.stderr
    assert acme.root() == root


def test_certificates_are_valid_for_90_days_or_as_long_as_a_test_wants(
    lab: Lab, acme: Pebble
) -> None:
    end = f"sudo openssl x509 -in {FILES}/cert.pem -checkend"
    lab.run(HOST, f"{end} {89 * 86400}")
    acme.configure(validity=600)
    lab.run(HOST, "sudo rm -r /etc/letsencrypt")  # with an account that Pebble no longer knows
    done = certbot(lab, acme, NAMES)
    assert done.returncode == 0, done.stderr
    lab.run(HOST, f"{end} 0")
    assert lab.run(HOST, f"{end} 601", check=False).returncode == 1
    # who comes after this module may meet the same server
    acme.configure(validity=90 * 86400)


def test_it_goes_with_the_last_host_that_asks_it(lab: Lab, acme: Pebble) -> None:
    asked = {host.name for host in lab.hosts() if host.name != acme.name} - {HOST}
    lab.down(INVENTORY)
    assert asked or acme.name not in {host.name for host in lab.hosts()}
