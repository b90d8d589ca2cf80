"""The service goes from its host, and comes back with its people, their passwords and files."""

from __future__ import annotations

import pytest

from lab import Lab
from tests.kit.service import NAME, PASSWORD, Deployed, Service
from tests.kit.support import PROJECT, cut, down, pyinfra

pytestmark = pytest.mark.slow

REMOVE = ("deploys/remove.py", "--data", f"remove_service={NAME}")
#: Of the owner, in a directory of the Hub's
LINES = "/etc/jupyterhub/conf.d/owner.py"
#: Programs, units, accounts, rules, containers and files that are the service's
_TRACES = r"""
ps -eo args | grep -E '/opt/[h]ubstead|/usr/local/lib/[h]ubstead|[j]upyterhub|[t]raefik'
systemctl list-units --all --no-legend --plain '*hubstead*' 'jupyterhub*' 'traefik*' |
    grep -v ^system-
getent passwd jupyterhub traefik; getent group hubstead-tls jupyterhub traefik
iptables-save | grep -i hubstead; ip6tables-save | grep -i hubstead
docker container ls --all --quiet; docker network ls | grep hubstead; docker image ls --quiet
find / -xdev '(' -path /proc -o -path /var/lib/docker -o -path /var/log -o -path /root/.cache ')' \
    -prune -o '(' -iname '*hubstead*' -o -iname '*jupyterhub*' -o -iname '*traefik*' ')' \
    -print -prune
"""
#: What stays: people's, the database's and the owner's, notes, and what systemd remembers of timers
STAYS = {
    "/etc/jupyterhub",
    "/etc/postgresql/17/main/conf.d/hubstead.conf",
    "/srv/hubstead",
    "/var/lib/hubstead",
    *(
        f"/var/lib/systemd/timers/stamp-hubstead-{timer}.timer"
        for timer in ("certificate", "certificate-check", "certificate-hooks", "users-image")
    ),
}


@pytest.fixture(scope="module")
def service(deployed: Deployed) -> Service:
    return deployed.alone()


def test_nothing_is_removed_without_the_name_of_the_service(service: Service) -> None:
    before = service.units()
    for words in ((), ("--data", "remove_service=another.example.org")):
        run = service.run("deploys/remove.py", *words)
        assert (run.status, run.changed) == (1, []), run.end
        assert f"`--data remove_service={NAME}`" in run.output
        assert "people's files in /srv/hubstead/files" in run.output
    assert service.units() == before


def test_the_service_goes_and_comes_back_with_its_people(service: Service) -> None:
    alice = service.person("alice")
    with alice.kernel() as kernel:
        kernel.run("open('diary', 'w').write('dear diary')")
    service.sudo(f"echo '# mine' >{LINES}")
    service.sudo("systemctl start hubstead-certificate-check.service")
    # a full disk, which stops what brings something
    service.sudo("mount -t tmpfs -o size=5m disk /var/log")

    script, *word = REMOVE
    for moment in (4, 6, 8):
        cut(moment, service.inventory, *word, script=script)
    run = service.run(*REMOVE)
    assert run.status == 0, run.end
    assert f"Removed from {NAME}; it has people's files in /srv/hubstead/files" in run.output
    traces = service.lab.run(NAME, "sudo sh", input=_TRACES, check=False).stdout
    assert set(traces.splitlines()) == STAYS
    assert service.sudo(f"cat {LINES}") == "# mine\n"
    assert service.sudo("ss -Hltn sport = :443 or sport = :80") == ""
    again = service.run(*REMOVE)
    assert (again.status, again.changed) == (0, []), again.end

    assert "/var/log has 5 MiB free" in service.run().output
    service.sudo("umount /var/log")
    assert service.run().status == 0
    # its authority is a new one
    (service.directory / "ca.pem").unlink()
    back = Service(service.lab, service.directory)
    back.visitor("alice").log_in(PASSWORD)
    with back.person("alice").kernel() as kernel:
        assert kernel.run("print(open('diary').read())") == "dear diary\n"
    assert back.run().changed == []


@pytest.mark.every
@pytest.mark.parametrize(
    ("inventory", "name"),
    [("prod.py", "jupyter.example.com"), ("jupyterlab_login.py", "lab.example.org")],
)
def test_other_systems_go_and_come_back(inventory: str, name: str) -> None:
    lab, path = Lab(), PROJECT / "inventories" / inventory
    lab.up(path)
    hosts = [host.name for host in lab.hosts() if host.inventory == str(path)]
    try:
        assert pyinfra(path, "deploys/all.py").status == 0
        run = pyinfra(path, "--data", f"remove_service={name}", "deploys/remove.py")
        assert run.status == 0, run.end
        for host in hosts:
            traces = lab.run(host, "sudo sh", input=_TRACES, check=False).stdout.splitlines()
            left = {trace for trace in traces if not trace.startswith("/var/lib/systemd/timers/")}
            assert left <= STAYS | {"/var/lib/jupyterlab"}, host
            assert lab.run(host, "ss -Hltn sport = :443 or sport = :80").stdout == "", host
        again = pyinfra(path, "--data", f"remove_service={name}", "deploys/remove.py")
        assert (again.status, again.changed) == (0, []), again.end
        # which tries that people get in
        assert pyinfra(path, "deploys/all.py").status == 0
    finally:
        down(lab, path)
