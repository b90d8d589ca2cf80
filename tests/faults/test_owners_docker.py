"""Docker was there before, with containers and settings of the owner's, which go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.kit.service import Service
from tests.kit.shop import DOCKER, DOCKER_LOOK, DOCKER_SETTINGS
from tests.kit.support import PROJECT, Run, down

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/owner.py"
NAME = "own.example.org"
DAEMON = "/etc/docker/daemon.json"

#: As earlier versions wrote it
_FORMER = """{
  "exec-opts": ["native.cgroupdriver=systemd"],
  "live-restore": true,
  "log-driver": "json-file",
  "log-opts": {"max-size": "10m", "max-file": "3"},
  "userland-proxy": false
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = Lab()
    lab.up(INVENTORY)
    directory = tmp_path_factory.mktemp("owner")
    (directory / "engine.py").write_text(
        "from hubstead.roles.hub.spawners.docker import install\n"
        "from hubstead.site import here\n\ninstall(site=here())\n"
    )
    yield Service(lab, directory, INVENTORY, NAME)
    down(lab, INVENTORY)


@pytest.fixture(scope="module")
def before(host: Service) -> str:
    host.sudo(DOCKER, input=DOCKER_SETTINGS)
    return host.sudo(DOCKER_LOOK)


def deploy(host: Service) -> Run:
    """The engine, without the users' image."""
    return host.run(str(host.directory / "engine.py"))


def test_another_vendors_docker_is_not_replaced(host: Service) -> None:
    install = "apt-get update -q && apt-get install -qy --no-install-recommends podman-docker"
    host.sudo(f"export DEBIAN_FRONTEND=noninteractive; {install} >/dev/null")
    refused = deploy(host)
    assert (refused.status, refused.changed) == (1, []), refused.end
    assert "it has podman-docker, where Hubstead would install" in refused.output
    host.sudo("apt-get purge -qy --autoremove podman-docker >/dev/null; rm -rf /etc/docker")


def test_an_account_with_a_number_of_peoples_files_is_named(host: Service) -> None:
    host.sudo("groupadd --gid 59000 till; useradd --uid 70500 keeper")
    refused = host.run("deploys/docker.py")
    assert (refused.status, refused.changed) == (1, []), refused.end
    assert "the account keeper (uid 70500, gid" in refused.output
    assert "the group till (gid 59000)" in refused.output
    host.sudo("userdel keeper; groupdel till")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [('{"userns-remap": "default"}', "userns-remap"), ('{"data-root": ', "it is unreadable")],
)
def test_a_key_that_stands_in_the_way_is_named(
    host: Service, before: str, settings: str, reason: str
) -> None:
    host.sudo(f"cp -a {DAEMON} /root/; cat >{DAEMON}", input=settings)
    refused = deploy(host)
    assert (refused.status, refused.changed) == (1, []), refused.end
    assert f"people's servers: {reason}" in refused.output
    assert host.sudo(f"cat {DAEMON}; cp -a /root/daemon.json {DAEMON}") == settings
    assert host.sudo(DOCKER_LOOK) == before


def test_the_owners_containers_go_on(host: Service, before: str) -> None:
    for _ in range(2):
        run = deploy(host)
        assert run.status == 0, run.end
        assert host.sudo(DOCKER_LOOK) == before
    assert run.changed == []
    # from now on, containers outlive a restart of Docker, also without a restart policy
    host.sudo("systemctl restart docker")
    assert host.sudo(DOCKER_LOOK) == before


def test_what_an_earlier_version_wrote_goes(host: Service, before: str) -> None:
    host.sudo(
        f"cat >{DAEMON}; systemctl reset-failed docker; systemctl restart docker", input=_FORMER
    )
    first, second = deploy(host), deploy(host)
    # the owner's `data-root` is gone in this test, and the network that was there
    assert "docker | Write the engine's settings" in first.changed, first.end
    assert (second.status, second.changed) == (0, [])
    keys = 'import json; print(sorted(json.load(open("/etc/docker/daemon.json"))))'
    assert host.sudo(f"python3 -c '{keys}'") == "['exec-opts', 'live-restore']\n"
