"""What is true of each deployed host, seen over SSH; nothing is changed."""

import json

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.slow

SERVICES = ["service", "shared"]
UNITS = (
    "hubstead-certificate-check.timer", "hubstead-certificate.timer", "hubstead-firewall.service",
    "postgresql.service", "ssh.service",
)  # fmt: skip
#: Paths that hold secrets, with who may read them
SECRET = {
    "/etc/hubstead/tls/ca-key.pem": ("root", "root", 0o600),
    "/etc/hubstead/userdb/owner.dsn": ("root", "root", 0o600),
    "/var/lib/hubstead/userdb/initial-passwords": ("root", "root", 0o700),
}


@pytest.mark.parametrize("unit", UNITS)
def test_unit_runs_now_and_after_a_reboot(host: Host, unit: str) -> None:
    service = host.service(unit)
    assert service.is_running and service.is_enabled


def test_no_unit_has_failed(host: Host) -> None:
    assert host.check_output("systemctl list-units --failed --no-legend --plain") == ""


def test_the_certificate_is_good_for_a_while(host: Host) -> None:
    in_ten_days = "-checkend 864000"
    host.check_output(f"openssl x509 -noout -in /etc/hubstead/tls/fullchain.pem {in_ten_days}")


@pytest.mark.parametrize("path", SECRET)
def test_secret_is_for_its_reader_only(host: Host, path: str) -> None:
    file = host.file(path)
    assert (file.user, file.group, file.mode) == SECRET[path]


def test_somebody_enabled_is_an_admin(host: Host) -> None:
    people = json.loads(host.check_output("hub-users list --json"))
    assert [person for person in people if person["admin"] and person["enabled"]]


def test_nothing_of_ours_is_for_everybody_to_write(host: Host) -> None:
    ours = "/opt/hubstead /etc/hubstead /etc/jupyter* /etc/traefik /etc/nginx /usr/local"
    found = f"find {ours} /var/lib/hubstead -perm /o+w ! -type l 2>/dev/null || true"
    assert host.check_output(f'sh -c "{found}"') == ""


@pytest.mark.parametrize("command", ["iptables", "ip6tables"])
def test_the_firewall_comes_first(host: Host, command: str) -> None:
    rules = host.check_output(f"{command} -S INPUT").splitlines()
    assert rules[1] == "-A INPUT -j HUBSTEAD-INPUT"
    last = host.check_output(f"{command} -S HUBSTEAD-INPUT").splitlines()[-1]
    assert last.split("-j ")[1].split()[0] in ("DROP", "REJECT")


def test_the_database_listens_on_its_socket_only(host: Host) -> None:
    show = "runuser -u postgres -- psql -AtXc 'SHOW listen_addresses'"
    assert host.check_output(f'sh -c "cd / && {show}"') == ""
