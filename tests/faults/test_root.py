"""What a host's root did: edited files of ours, and lets nobody read what it makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.kit.service import Service
from tests.kit.support import PROJECT, Run, down

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/owner.py"
NAME = "own.example.org"
#: apt reads each file that is beside it
EDITED = "/etc/apt/apt.conf.d/20auto-upgrades"
ZONE = "/usr/share/zoneinfo/Europe/Zurich"
WRITES = "base | Say whether security upgrades come by themselves"
_KEPT = "cd /var/lib/hubstead; find edited -type f -printf '%p %m %u\\n' -exec cat {} +"

_UMASK = "echo 'Defaults umask=0077,umask_override' >/etc/sudoers.d/umask"
_UNREADABLE = """
cd /
runuser -u nobody -- find /opt/hubstead ! -readable 2>&1 | head
runuser -u nobody -- hub-users --help >/dev/null
"""
#: As earlier versions left it
_FORMER = """
cd /opt/hubstead/userdb/current/
chmod go= .complete lib/python*/site-packages/hubstead_userdb*
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = Lab()
    lab.up(INVENTORY)
    service = Service(lab, tmp_path_factory.mktemp("owner"), INVENTORY, NAME)
    service.sudo(_UMASK)
    service.sudo(f"ln -sf {ZONE} /etc/localtime; echo Europe/Zurich >/etc/timezone")
    service.sudo(f"echo '# of before' >{EDITED}")
    first = service.run("deploys/base.py")
    assert first.status == 0, first.end
    assert "was edited" not in first.output
    assert f"{EDITED} was there before. A run" in first.output
    assert service.sudo(f"{_KEPT}; rm -r edited").endswith("600 root\n# of before\n")
    yield service
    down(lab, INVENTORY)


def test_the_time_zone_stays(host: Service) -> None:
    zone = "readlink /etc/localtime; cat /etc/timezone"
    assert host.sudo(zone) == f"{ZONE}\nEurope/Zurich\n"
    assert host.run("--data", "base_timezone=Etc/UTC", "deploys/base.py").status == 0
    assert host.sudo(zone) == "/usr/share/zoneinfo/Etc/UTC\nEtc/UTC\n"
    assert host.sudo(f"{_KEPT}; rm -r edited").endswith("600 root\nEurope/Zurich\n")


def test_what_the_owner_edited_is_kept(host: Service) -> None:
    ours = host.sudo(f"cat {EDITED}")
    host.sudo(f"echo '# mine' >{EDITED}; chown games {EDITED}; chmod 640 {EDITED}")
    plan = host.dry("deploys/base.py")
    assert f"{EDITED} was edited since Hubstead wrote it" in plan.output
    assert host.sudo(f"cat {EDITED}; ls /var/lib/hubstead") == "# mine\nwritten\n"
    run = host.run("deploys/base.py")
    assert run.changed == [WRITES], run.end
    assert run.output.count(f"{EDITED} was edited since Hubstead wrote it") == 1
    kept = host.sudo(_KEPT)
    name, mode, user, *content = kept.split(maxsplit=3)
    assert name.startswith(f"edited{EDITED}.20") and (mode, user) == ("640", "games")
    assert content == ["# mine\n"] and host.sudo(f"cat {EDITED}") == ours
    look = "runuser -u nobody -- ls /var/lib/hubstead/edited /var/lib/hubstead/written || true"
    assert host.sudo(look) == ""
    again = host.run("deploys/base.py")
    assert again.changed == [] and "was edited" not in again.output
    assert host.sudo(_KEPT) == kept


def test_a_host_of_an_earlier_version_has_no_notes(host: Service) -> None:
    host.sudo("rm -r /var/lib/hubstead/*")
    host.sudo(f"echo '# Written by Hubstead, an earlier one.' >{EDITED}")
    run = host.run("deploys/base.py")
    assert WRITES in run.changed, run.end
    assert "was edited" not in run.output and "was there before" not in run.output
    assert host.run("deploys/base.py").changed == []
    host.sudo(f"echo '# mine' >{EDITED}")
    assert "was edited" in host.run("deploys/base.py").output


def deploy(host: Service) -> Run:
    run = host.run(*(f"deploys/{role}.py" for role in ("postgres", "python", "userdb")))
    assert run.status == 0, run.end
    return run


def test_everybody_reads_what_a_deploy_makes(host: Service) -> None:
    deploy(host)
    assert host.sudo(_UNREADABLE) == ""
    assert deploy(host).changed == []


def test_what_an_earlier_version_made_is_made_anew(host: Service) -> None:
    host.sudo(_FORMER)
    assert deploy(host).changed == ["userdb | Build the release of hub-users"]
    assert host.sudo(_UNREADABLE) == ""
    assert deploy(host).changed == []
