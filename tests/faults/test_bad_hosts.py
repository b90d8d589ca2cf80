"""Hosts that cannot be taken as they are: each is refused in words before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.service import Service

pytestmark = pytest.mark.slow

NAME = "own.example.org"

_UNTOUCHED = "ls -d /opt/hubstead /etc/hubstead /var/lib/hubstead 2>&1 | grep -vc 'No such' || true"
_HUB = """
cat >/etc/systemd/system/jupyterhub.service <<END
[Service]
ExecStart=/opt/tljh/hub/bin/python3 -m jupyterhub.app
END
systemctl daemon-reload
"""
_PACKAGE = """
mkdir -p /tmp/docker-ce/DEBIAN /tmp/docker-ce/usr/bin
cat >/tmp/docker-ce/DEBIAN/control <<END
Package: docker-ce
Version: 5:28.0.1-1
Architecture: all
Maintainer: nobody <nobody@example.org>
Conflicts: docker.io
Description: another vendor's
END
ln -s /bin/false /tmp/docker-ce/usr/bin/docker
dpkg-deb -b /tmp/docker-ce /tmp/docker-ce.deb >/dev/null
dpkg -i /tmp/docker-ce.deb >/dev/null
"""
_SNAP = "mkdir -p /snap/bin; ln -s /usr/bin/snap /snap/bin/docker"
_READ_ONLY = "mount --bind /etc /etc; mount -o remount,bind,ro /etc"
#: What is made of the host, what puts it back, and what the run says
CASES = {
    "another hub": (
        _HUB,
        "rm /etc/systemd/system/jupyterhub.service; systemctl daemon-reload",
        "/etc/systemd/system/jupyterhub.service is not Hubstead's",
    ),
    "a configuration of another hub": (
        "mkdir /etc/jupyterhub; echo 'c = get_config()' >/etc/jupyterhub/jupyterhub_config.py",
        "rm -r /etc/jupyterhub",
        "/etc/jupyterhub/jupyterhub_config.py is not Hubstead's",
    ),
    "docker-ce": (_PACKAGE, "dpkg -P docker-ce >/dev/null", "it has docker-ce, where"),
    # snapd itself does not run in a container
    "snap's Docker": (_SNAP, "rm -r /snap", "it has /snap/bin/docker, where"),
    "a read-only /etc": (_READ_ONLY, "umount -l /etc", "a run writes to /etc, mounted read-only"),
}
#: Says the same address for each name
_RESOLVER = """
import socket
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.bind(("127.0.0.1", 53))
while True:
    query, who = asked.recvfrom(512)
    end = query.index(0, 12) + 5
    a = query[end - 4 : end - 2] == bytes([0, 1])
    head = query[:2] + bytes([0x81, 0x80, 0, 1, 0, a, 0, 0, 0, 0]) + query[12:end]
    answer = bytes([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 198, 18, 0, 250])
    asked.sendto(head + answer * a, who)
"""
#: Debian's server under another number, as another repository has it beside Debian's
_POSTGRES = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -qy --no-install-recommends postgresql-common >/dev/null
mkdir -p /tmp/pg/DEBIAN /tmp/pg/opt/pg /tmp/pg/usr/lib/postgresql
cd /tmp
debians=postgresql-$1
apt-get download -q $debians postgresql-client-$1 >/dev/null
for package in postgresql-*.deb; do dpkg-deb -x $package files; done
mv files/usr/* pg/opt/pg/
ln -s /opt/pg/lib/postgresql/$1 pg/usr/lib/postgresql/18
cat >pg/DEBIAN/control <<END
Package: postgresql-18
Version: 18.1-1.pgdg+1
Architecture: $(dpkg --print-architecture)
Maintainer: nobody <nobody@example.org>
Depends: $(dpkg-deb -f ${debians}_*.deb Depends | sed "s/postgresql-client-$1[^,]*,//")
Description: another version
END
dpkg-deb -Znone -b pg postgresql-18.deb >/dev/null
apt-get install -qy --no-install-recommends ./postgresql-18.deb >/dev/null
pg_createcluster --start --port 5432 18 main >/dev/null
"""
_BOOT = """
export DEBIAN_FRONTEND=noninteractive kernel=6.1.0-0-amd64
apt-get install -qy --no-install-recommends initramfs-tools >/dev/null
mkdir -p /usr/lib/modules/$kernel
mount -t tmpfs -o size=64k tmpfs /boot
touch /boot/vmlinuz-$kernel /boot/config-$kernel /boot/initrd.img-$kernel
mkdir -p /var/lib/initramfs-tools
sha1sum /boot/initrd.img-$kernel >/var/lib/initramfs-tools/$kernel
cat /dev/zero >/boot/full 2>/dev/null || true
! update-initramfs -u 2>&1
"""


def check_refused(host: Service, reason: str) -> None:
    run = host.run()
    assert (run.status, run.changed) == (1, []), run.end
    assert reason in run.output, run.end
    assert "Traceback" not in run.output
    assert host.sudo(_UNTOUCHED) == "0\n"


@pytest.mark.parametrize(("make", "mend", "reason"), CASES.values(), ids=CASES)
def test_a_host_is_refused(host: Service, make: str, mend: str, reason: str) -> None:
    host.sudo(make)
    try:
        check_refused(host, reason)
    finally:
        host.sudo(mend)


@pytest.mark.parametrize(("offset", "reason"), [("+1h", "behind"), ("-1h", "ahead of")])
def test_a_clock_that_is_an_hour_off(
    host: Service, offset: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of this machine is, which lab hosts share; who is right is not for the run to say."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    with monkeypatch.context() as environment:
        environment.setenv("LD_PRELOAD", str(library))
        environment.setenv("FAKETIME", offset)
        run = host.run()
    assert (run.status, run.changed) == (1, []), run.end
    assert f"its clock is 60 minutes {reason} that of this machine" in run.output, run.end
    assert host.sudo(_UNTOUCHED) == "0\n"


def test_dns_that_answers_for_everything_is_named(host: Service) -> None:
    host.sudo(
        "cat >/run/resolver.py; systemd-run -q --unit=resolver python3 /run/resolver.py;"
        " cp -a /etc/resolv.conf /run/; echo nameserver 127.0.0.1 >/etc/resolv.conf",
        input=_RESOLVER,
    )
    plan = host.dry("deploys/base.py")
    host.sudo("systemctl stop resolver; cp -a /run/resolv.conf /etc/")
    assert (plan.status, plan.changed) == (0, []), plan.end
    assert "DNS there has the address 198.18.0.250 for a name that does not exist" in plan.output
    assert "for a name that does not exist" not in host.dry("deploys/base.py").output


@pytest.mark.every
def test_another_major_version_of_postgresql(host: Service) -> None:
    """It keeps its port; at another one it is no hindrance."""
    version = {"bookworm": 15, "trixie": 17}[host.lab.host(NAME).os]
    host.sudo(f"set {version}\n{_POSTGRES}")
    check_refused(host, "has a PostgreSQL cluster 18/main at port 5432")
    host.sudo(
        "sed -i 's/^port = .*/port = 5433/' /etc/postgresql/18/main/postgresql.conf;"
        " pg_ctlcluster 18 main restart"
    )
    runs = [host.run("deploys/base.py", "deploys/postgres.py") for _ in range(2)]
    assert [run.status for run in runs] == [0, 0], runs[-1].end
    assert runs[1].changed == []
    clusters = f"{version} main 5432 online\n18 main 5433 online\n"
    assert host.sudo("pg_lsclusters -h | tr -s ' ' | cut -d' ' -f1-4") == clusters


@pytest.mark.every
def test_a_full_boot_makes_no_difference(host: Service) -> None:
    """Packages may have the initramfs made anew, for which there is no room."""
    host.sudo(_BOOT)
    engine = host.directory / "engine.py"
    engine.write_text(
        "from hubstead.roles.hub.spawners.docker import install\n"
        "from hubstead.site import here\n\ninstall(site=here())\n"
    )
    runs = [host.run(str(engine)) for _ in range(2)]
    assert [run.status for run in runs] == [0, 0], runs[0].end
    assert runs[1].changed == []
    host.sudo("umount /boot; docker info >/dev/null")
