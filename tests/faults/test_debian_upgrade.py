"""Debian 12 becomes 13 under the service: one run, and people have all that they had."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab import Lab, image
from tests.kit.hub_client import HubClient
from tests.kit.service import PASSWORD, Service
from tests.kit.support import PROJECT, down

pytestmark = [pytest.mark.slow, pytest.mark.every]

INVENTORY = PROJECT / "tests/inventories/debian.py"
NAME = "debian.example.org"

# As the release notes of Debian 13 say, chapter 4. The metapackage brings PostgreSQL 17, whose
# package makes no cluster where there is one of 15
_UPGRADE = """
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -qy -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
$apt install postgresql >/dev/null
sed -i 's/bookworm/trixie/' /etc/apt/sources.list
$apt update >/dev/null
$apt upgrade --without-new-pkgs >/dev/null
$apt full-upgrade >/dev/null
"""
_CLUSTERS = "pg_lsclusters -h | awk '{ print $1 \"/\" $2, $3, $4 }'"
_DUMPS = "/var/backups/hubstead"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = Lab()
    lab.up(INVENTORY)
    # of what it becomes, too: a lab host reaches no image registry
    archives = {each: str(image.ensure(each, print)) for each in ("bookworm", "trixie")}
    settings = (f"docker_base_archives={json.dumps(archives)}",)
    service = Service(lab, tmp_path_factory.mktemp("debian"), INVENTORY, NAME, settings)
    first = service.run()
    assert first.status == 0, first.end
    yield service
    down(lab, INVENTORY)


def test_a_host_is_upgraded_under_the_service(service: Service) -> None:
    ada = service.person("ada")
    ada.notebook("adas.ipynb", "1 + 1")
    service.stop_servers()
    admins_password = service.sudo("hub-users initial-password admin").strip()
    service.sudo(_UPGRADE)
    service.lab.reboot(NAME)
    clusters = "15/main 5432 online\n"
    assert service.sudo(_CLUSTERS) == clusters

    refused = service.run()
    assert refused.status != 0 and refused.changed == []
    assert "--data postgres_upgrade=true" in refused.output
    assert service.sudo(_CLUSTERS) == clusters
    # somebody's own in the new cluster is not thrown away
    usual, service.settings = service.settings, (*service.settings, "postgres_upgrade=true")
    service.sudo(
        "pg_createcluster --port 5433 --start 17 main >/dev/null"
        "; cd /; runuser -u postgres -- createdb --cluster 17/main shop"
    )
    refused = service.run()
    assert refused.status != 0 and refused.changed == []
    assert "17/main holds databases or roles already" in refused.output
    service.sudo("pg_dropcluster --stop 17 main")

    run = service.run()
    assert run.status == 0, run.end
    assert service.sudo(_CLUSTERS) == "15/main 5433 down\n17/main 5432 online\n"
    kept = service.sudo(f"cd {_DUMPS}; stat -c '%U %a' . *; grep -c 'CREATE DATABASE userdb' *")
    assert kept == "root 700\nroot 600\n1\n"
    service.settings = usual
    second = service.run()
    assert (second.status, second.changed) == (0, []), second.end

    # her session and her token are from before
    assert ada.is_logged_in()
    ada.start_server()
    assert ada.cells("adas.ipynb") == ["1 + 1"]
    with ada.kernel() as kernel:
        assert kernel.run("print(6*7)") == "42\n"
    HubClient(service.site, "ada").log_in(PASSWORD)
    # a one-time password is still one, to be changed
    answer = HubClient(service.site, "admin").try_to_log_in(admins_password)
    assert answer.status_code == 302 and "change-password" in answer.headers["Location"]
