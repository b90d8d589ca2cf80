"""What an owner may have otherwise than the lab, and which makes no difference.

A language in which the small form of I is not i, other shells, a password for sudo, a host name
without a dot, no IPv6.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.kit.service import _WATCH, STRANGER, Service
from tests.kit.support import PROJECT, down

pytestmark = [pytest.mark.slow, pytest.mark.every]

INVENTORY = PROJECT / "tests/inventories/plain.py"
NAME = "plain"
PASSWORD = "seven 'calm' $herons \\ wade"

_TASTES = """
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -qy --no-install-recommends locales fish tcsh >/dev/null 2>&1
printf '%s UTF-8\\n' tr_TR.UTF-8 de_DE.UTF-8 >/etc/locale.gen
locale-gen >/dev/null
# the language of units; in Turkish, Debian's own `systemctl reload ssh` fails (procps' kill -HUP)
echo LANG=de_DE.UTF-8 >/etc/default/locale
printf 'LANG=tr_TR.UTF-8\\nLC_ALL=tr_TR.UTF-8\\n' >>/etc/environment
sed -i '/^root:/s,[^:]*$,/usr/bin/tcsh,' /etc/passwd
useradd --create-home --shell /usr/bin/fish paula
(printf paula:; cat) | chpasswd
cp -r /home/deploy/.ssh /home/paula/
chown -R paula: /home/paula/.ssh
echo 'paula ALL=(ALL:ALL) ALL' >/etc/sudoers.d/paula
echo net.ipv6.conf.all.disable_ipv6=1 >/etc/sysctl.d/90-none.conf
sysctl -qp /etc/sysctl.d/90-none.conf
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = Lab()
    lab.up(INVENTORY)
    service = Service(lab, tmp_path_factory.mktemp("plain"), INVENTORY, NAME)
    service.servers = None
    service.sudo(_TASTES, input=PASSWORD)
    watch = f"systemd-run -q --unit=watch --uid={STRANGER} python3 -c {shlex.quote(_WATCH)}"
    service.sudo(f"useradd --create-home {STRANGER}; {watch}")
    yield service
    down(lab, INVENTORY)


def test_without_a_terminal_the_password_is_asked_for_in_words(host: Service) -> None:
    run = host.run()
    assert (run.status, run.changed) == (1, []), run.end
    assert "sudo asks for a password" in run.output
    assert "Traceback" not in run.output
    assert not run.output.startswith("{")


def test_it_makes_no_difference(host: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_PASSWORD", PASSWORD)
    first = host.run("-vvv", "deploys/all.py")
    assert first.status == 0, first.end
    host.check_works()
    second = host.run()
    assert (second.status, second.changed) == (0, []), second.end
    assert "PYINFRA_SUDO_PASSWORD" in first.output
    seen = host.sudo("cat /home/mallory/seen")
    assert "apt-get" in seen
    for each in (PASSWORD, shlex.quote(PASSWORD)):
        assert each not in first.output + second.output
        assert each not in seen


def test_another_address_is_told_before_it_counts(
    host: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is where another inventory has the same host."""
    monkeypatch.setenv("SUDO_PASSWORD", PASSWORD)
    warning = (
        f"the Hub there is at https://{NAME}/ by now, and a run makes that https://{NAME}/jup/"
    )
    assert warning in host.dry("--data", "hub_base_url=/jup/", "deploys/all.py").output
    assert "the Hub there is at" not in host.dry().output
