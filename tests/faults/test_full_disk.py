"""A disk that fills while a run is at work: the run says so, and a later one finishes it."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from lab.state import Record
from tests.kit.hub_client import HubClient
from tests.kit.service import Service
from tests.kit.support import PROJECT, Run, down

pytestmark = [pytest.mark.slow, pytest.mark.every]

INVENTORY = PROJECT / "tests/inventories/small_disk.py"
NAME = "small.example.org"
SIZE = "7G"
#: Of the owner, in places where a run writes
OWNERS = """
echo '# mine' >/etc/jupyterhub/conf.d/own.py
sed -i '1i # mine' /etc/postgresql/*/main/pg_hba.conf
echo 'work_mem = 5MB' | tee "$(echo /etc/postgresql/*/main/conf.d)/own.conf"
useradd owner
"""
LOOK = """
cd /etc
grep -h mine jupyterhub/conf.d/* postgresql/*/main/pg_hba.conf
cat postgresql/*/main/conf.d/own.conf
ls postgresql/*/main/conf.d
grep owner passwd shadow group
sha256sum /etc/hubstead/tls/ca.pem
find /srv/hubstead -xdev -name '*.ipynb' -printf '%p %m %U:%G ' -exec sha256sum {} ';'
"""
#: Once something at $1 is newer than /full: takes what is free, and what becomes free
_FILL = """
until find "$1" -newer /full | grep -q .; do sleep 0.05; done
while :; do
    fallocate --offset "$(stat -c %s /full)" \
        --length "$(df --block-size=1 --output=avail / | tail -n 1)" /full ||
        dd if=/dev/zero bs=4k of=/full oflag=append conv=notrunc
    sleep 0.02
done >/dev/null 2>&1
"""


def on_a_small_disk(record: Record, file: Path) -> None:
    """Give a host, which is down, a disk of ext4 with all that it has."""
    for command in (
        f"truncate --size {SIZE} {file}",
        f"mkfs.ext4 -q -m 0 -d {record.root} {file}",
        f"mount -o loop {file} {record.root}",
    ):
        subprocess.run(shlex.split(command), check=True)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab, directory = Lab(), tmp_path_factory.mktemp("small")
    lab.up(INVENTORY)
    lab.cut(NAME, stay_down=True)
    record = lab.host(NAME)
    on_a_small_disk(record, directory / "disk")
    try:
        lab.start(NAME)
        yield Service(lab, directory, INVENTORY, NAME)
        lab.cut(NAME, stay_down=True)
    finally:
        subprocess.run(["umount", record.root], check=True)
        down(lab, INVENTORY)


def fill(host: Service, path: str) -> None:
    """Have the disk filled once something is written at a path."""
    script = f"sh -c {shlex.quote(_FILL)} sh {path}"
    host.sudo(f"touch /full; systemd-run --quiet --collect --unit=fill {script}")


def make_room(host: Service) -> None:
    host.sudo("systemctl stop fill 2>/dev/null || true; rm /full")


def changed(number: int) -> list[str]:
    """Other settings each time: of the database, the firewall, the Hub, people."""
    data = {
        "hub_users": [{"username": "admin", "admin": True}, f"new{number}"],
        "hub_memory_limit": f"{number + 1}G",
        "hub_idle_timeout": 1000 + number,
        "firewall_open": [{"port": 9000 + number}],
        "postgres_max_connections": 90 + number,
    }
    return [
        word
        for key, value in data.items()
        for word in ("--data", f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    ]


def check_it_says_so(run: Run) -> None:
    assert run.status == 1, run.end
    assert f"{NAME}: the disk is full by now. / has " in run.output, run.end


def check_it_is_whole(host: Service, *settings: str) -> None:
    """One run with room finishes what was begun, and nothing is left to do."""
    run = host.run(*settings, "deploys/all.py")
    assert run.status == 0, run.end
    again = host.run(*settings, "deploys/all.py")
    assert (again.status, again.changed) == (0, []), again.end
    assert host.sudo("find / -xdev -name '*.hubstead.??????' -o -xdev -name .written") == ""


def test_while_the_service_comes(host: Service) -> None:
    for path in (
        "/etc/apt/apt.conf.d",
        "/etc/postgresql",
        "/opt/hubstead/userdb",
        "/opt/hubstead/singleuser",
    ):
        fill(host, path)
        run = host.run()
        make_room(host)
        check_it_says_so(run)
    check_it_is_whole(host)
    host.check_works()


def test_while_people_are_at_work(host: Service) -> None:
    """Settings change back and forth, of each role that writes something, and a person comes."""
    assert host.run().status == 0
    ada = host.person("ada")
    ada.notebook("adas.ipynb", "1 + 1")
    host.stop_servers()
    host.sudo(OWNERS)
    owners = host.sudo(LOOK)
    for number, path in enumerate(
        ("/etc/hubstead/firewall", "/etc/postgresql", "/var/lib/hubstead/userdb", "/etc/jupyterhub")
    ):
        settings = changed(number)
        fill(host, path)
        run = host.run(*settings, "deploys/all.py")
        make_room(host)
        if run.status:
            check_it_says_so(run)
        assert host.sudo(LOOK) == owners
    check_it_is_whole(host, *settings)
    assert host.sudo(LOOK) == owners
    password = host.sudo(f"hub-users initial-password new{number}").strip()
    answer = HubClient(host.site, f"new{number}").try_to_log_in(password)
    assert answer.status_code == 302 and "change-password" in answer.headers["Location"]
    # with the session of before
    assert ada.is_logged_in()
    ada.start_server()
    assert ada.cells("adas.ipynb") == ["1 + 1"]


def test_the_service_goes(host: Service) -> None:
    """Which makes room. What is people's and the owner's stays."""
    # this one's time is that of whoever looks
    fill(host, "/proc/uptime")
    host.sudo("sleep 3; systemctl stop fill")
    remove = ("deploys/remove.py", "--data", f"remove_service={NAME}")
    run = host.run(*remove)
    assert run.status == 0, run.end
    assert host.sudo("ls /opt; find /etc/jupyterhub -type f") == "/etc/jupyterhub/conf.d/own.py\n"
    make_room(host)
    again = host.run(*remove)
    assert (again.status, again.changed) == (0, []), again.end
