"""The project cloned onto a bare host and run there, on the host itself."""

from __future__ import annotations

import json
import runpy
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from lab import Lab
from tests.kit.support import PROJECT, down

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/clone.py"
HOST = "clone.example.org"
#: As group_data/local.py has it
NAME = "hub.localhost"
#: What a person would have on such a machine: make, and the certificates of its network
PREPARE = """
set -eu
mkdir -p hubstead && tar -x -C hubstead
sudo apt-get update -q
sudo apt-get install -qy --no-install-recommends ca-certificates make
sudo cp hubstead/.lab/*.crt /usr/local/share/ca-certificates/
sudo update-ca-certificates
cd hubstead
sudo PIP_CERT=/etc/ssl/certs/ca-certificates.crt make .venv/ready
"""
DEPLOY = (
    "cd hubstead && sudo SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"
    " .venv/bin/pyinfra -y --json --group-data .lab/group_data inventories/local.py deploys/all.py"
)


def archive(lab: Lab) -> bytes:
    """The project's files as git has them, and beside them what only the lab knows."""
    known = runpy.run_path(str(lab.directory / "group_data/all.py"))
    certificates = [Path(path) for path in known["base_ca_certificates"]]
    base = Path(known["docker_base_archives"]["trixie"])
    data = (
        f"base_ca_certificates = {[f'.lab/{path.name}' for path in certificates]!r}\n"
        f"docker_base_archives = {{'trixie': '.lab/{base.name}'}}\n"
    ).encode()
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in listing.stdout.splitlines():
            tar.add(PROJECT / name, name)
        for path in [*certificates, base]:
            tar.add(path, f".lab/{path.name}")
        member = tarfile.TarInfo(".lab/group_data/all.py")
        member.size = len(data)
        tar.addfile(member, BytesIO(data))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab()
    lab.up(INVENTORY)
    subprocess.run([*lab.ssh_command(), HOST, PREPARE], input=archive(lab), check=True)
    yield lab
    down(lab, INVENTORY)


def test_a_bare_host_deploys_itself_twice(lab: Lab) -> None:
    first = lab.run(HOST, DEPLOY, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"https://{NAME}/" in first.stderr
    second = lab.run(HOST, DEPLOY)
    totals = json.loads(second.stdout)["results"]["totals"]
    assert totals["hosts"] > 50
    assert (totals["success"], totals["error"]) == (0, 0), second.stdout
    login = f"curl -fsS --cacert /etc/hubstead/tls/ca.pem --resolve {NAME}:443:127.0.0.1"
    page = lab.run(HOST, f"{login} https://{NAME}/hub/login").stdout
    assert 'name="password"' in page
