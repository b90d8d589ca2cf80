"""Packages where something stands in the way: one of the owner's, a lock, a mirror."""

import pytest

from lab import Lab
from tests.kit.support import PROJECT, pyinfra

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/packages.py"
NAME = "packages.example.org"

#: A package that never configures, as one does that asks a server which is gone
THEIRS = r"""
mkdir -p /root/theirs/DEBIAN
cd /root/theirs
printf '%s\n' 'Package: theirs' 'Version: 1' 'Architecture: all' 'Maintainer: The owner' \
    'Description: not for this host' >DEBIAN/control
printf '#!/bin/sh\necho x >>/root/tries\nexit 1\n' >DEBIAN/postinst
chmod 755 DEBIAN/postinst
dpkg-deb --build . /root/theirs.deb
! dpkg --install /root/theirs.deb
"""
#: Where apt finds Debian, as an address
MIRROR = "sed -n 's,.*//\\([^/:]*\\).*,\\1,p' /etc/apt/sources.list /etc/apt/sources.list.d/*"


def test_a_package_of_the_owners_that_never_configures_costs_nothing(lab: Lab) -> None:
    lab.run(NAME, "sudo sh -eu", input=THEIRS)
    run = pyinfra(INVENTORY, "deploys/base.py")
    assert run.status == 0, run.end
    assert len(lab.run(NAME, "sudo cat /root/tries").stdout.split()) < 6
    again = pyinfra(INVENTORY, "deploys/base.py")
    assert (again.status, again.changed) == (0, []), again.end
    assert "theirs cannot be configured, and Hubstead does not need it" in again.output
    lab.run(NAME, "sudo dpkg --purge --force-all theirs")
    assert "theirs" not in pyinfra(INVENTORY, "deploys/base.py").output


def test_what_was_unpacked_as_the_power_went_is_installed_anew(lab: Lab) -> None:
    """Whoever needs such a package, and whatever the run asks for."""
    lab.run(NAME, "sudo apt-get -q update; sudo apt-get -qy install libjansson4 jq libjq1")
    for package, state in (("libjq1", "unpacked"), ("libjansson4", "half-installed")):
        status = f"/^Package: {package}$/,/^$/s/^Status: .*/Status: install reinstreq {state}/"
        lab.run(NAME, f"sudo sed -i '{status}' /var/lib/dpkg/status")
    waiting = "/^Package: jq$/,/^$/s/^Status: .*/Status: install ok unpacked/"
    lab.run(NAME, f"sudo sed -i '{waiting}' /var/lib/dpkg/status; sudo dpkg --audit | grep -q .")
    run = pyinfra(INVENTORY, "deploys/base.py")
    assert run.status == 0, run.end
    assert lab.run(NAME, "sudo dpkg --audit").stdout == ""
    again = pyinfra(INVENTORY, "deploys/base.py")
    assert (again.status, again.changed) == (0, []), again.end
    assert "cannot be configured" not in run.output + again.output


def test_a_lock_is_waited_for(lab: Lab) -> None:
    lab.run(NAME, "sudo apt-get -qy remove htop; sudo systemd-run -q --unit=upgrade "
            "python3 -c 'import fcntl, time; f = open(\"/var/lib/dpkg/lock-frontend\", \"w\");"
            " fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(15)'")  # fmt: skip
    run = pyinfra(INVENTORY, "--data", 'base_packages=["htop"]', "deploys/base.py")
    assert run.status == 0, run.end
    assert "another apt or dpkg is at work" in run.output


def test_a_mirror_that_refuses_for_half_a_minute_is_asked_again(lab: Lab) -> None:
    unreachable = f"""
        for address in $({MIRROR} | xargs getent ahosts | cut -d' ' -f1 | sort -u); do
            ip route add unreachable "$address"
            systemd-run -q --on-active=25 --timer-property=AccuracySec=100ms \
                ip route del unreachable "$address"
        done
        ip route | grep unreachable
        rm /var/lib/apt/periodic/update-success-stamp"""
    lab.run(NAME, "sudo sh -eu", input=unreachable)
    run = pyinfra(INVENTORY, "--data", 'base_packages=["tree"]', "deploys/base.py")
    assert run.status == 0, run.end
