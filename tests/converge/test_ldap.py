"""People of a directory: they log in, and are out when they have left it."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.state import CERTIFICATES
from tests.kit import slapd
from tests.kit.authority import Authority
from tests.kit.hub_client import HubClient, KernelError, patiently
from tests.kit.service import Deployed, Service, container
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

DIRECTORY, PORT = "directory.example.org", 1389
PLACE = Path("/srv/directory")
SOCKET = f"ldapi://{str(PLACE / 'socket').replace('/', '%2F')}"
SETTINGS = (
    'hub_authenticator="ldap"',
    f'hub_ldap_url=["ldap://{DIRECTORY}:{PORT}"]',
    f"hub_ldap_base={slapd.PEOPLE}",
    f"hub_ldap_bind_dn={slapd.READER}",
    "hub_ldap_filter=(!(employeeType=gone))",
    f"hub_ldap_group_base={slapd.GROUPS}",
    'hub_allowed_groups=["lab"]',
    'hub_admins=["grace"]',
    'hub_groups={"lab": {"from": ["lab"], "teachers": ["grace"], "memory": "600M", "shared": true},'
    ' "profs": {"from": ["profs"], "shared": true}}',
)
SECRET = "HUBSTEAD_HUB_LDAP_BIND_PASSWORD"

INSTALL = f"""
systemctl mask slapd
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qqy install --no-install-recommends slapd ldap-utils
echo "127.0.0.1 {DIRECTORY}" >>/etc/hosts
mkdir -p {PLACE}/data
cd {PLACE}
umask 077
tar -x
systemd-run -q --unit=directory slapd -d 0 -f {PLACE}/slapd.conf \\
    -h 'ldap://127.0.0.1:{PORT} {SOCKET}'
until test -S socket; do sleep 0.1; done
"""


class WithDirectory:
    """The service, and the directory that its host has too."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def change(self, ldif: str) -> None:
        self.service.sudo(shlex.join(slapd.change(SOCKET)), input=ldif)

    def visitor(self, name: str) -> HubClient:
        return HubClient(self.service.site, name)

    def person(self, name: str) -> HubClient:
        """Somebody of the directory with a token and a running server."""
        client = self.visitor(name)
        client.log_in(slapd.PASSWORD)
        client.take_token()
        client.start_server()
        return client

    def has_container(self, name: str) -> bool:
        names = self.service.sudo("docker ps -a --format '{{.Names}}'").split()
        return container(name) in names


def put_directory(service: Service, authority: Authority) -> None:
    """Have slapd run on the host, beside the service."""
    certificate, key = authority.pair()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in (
            ("fullchain.pem", certificate.read_text()),
            ("key.pem", key.read_text()),
            (
                "slapd.conf",
                slapd.configuration(PLACE, PLACE / "fullchain.pem", PLACE / "key.pem"),
            ),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    service.sudo(INSTALL, input=packed.getvalue().decode())


@pytest.fixture(scope="module")
def site(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithDirectory]:
    authority = Authority(tmp_path_factory.mktemp("directory"))
    authority.issue([DIRECTORY])
    certificates = [*map(str, sorted(CERTIFICATES.glob("*.crt"))), str(authority.root)]
    service = deployed.alone(*SETTINGS, f"base_ca_certificates={json.dumps(certificates)}")
    put_directory(service, authority)
    site = WithDirectory(service)
    site.change(
        "\n\n".join(
            (
                slapd.ENTRIES,
                *(slapd.person(name) for name in ("ada", "bob", "grace", "eve")),
                slapd.group("lab", "ada", "bob"),
            )
        )
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(SECRET, slapd.READER_PASSWORD)
        first = service.run()
        assert first.status == 0, first.end
        second = service.run()
        assert (second.status, second.changed) == (0, []), second.end
        assert slapd.READER_PASSWORD not in first.output + second.output
        yield site


def test_who_may_logs_in_and_runs_a_cell(site: WithDirectory) -> None:
    ada = site.person("ada")
    with ada.kernel() as kernel:
        assert kernel.run("print(6*7)") == "42\n"
    assert not ada.api("GET", "/user")["admin"]
    grace = site.visitor("grace")
    grace.log_in(slapd.PASSWORD)
    assert grace.request("GET", "/hub/admin").status_code == 200
    answer = site.visitor("eve").try_to_log_in(slapd.PASSWORD)
    assert answer.status_code == 403 and "you may not use this service" in answer.text
    for name, password in (("ada", "wrong"), ("ada", ""), ("nobody", "x"), ("*", slapd.PASSWORD)):
        answer = site.visitor(name).try_to_log_in(password)
        assert answer.status_code == 403 and "Invalid username or password" in answer.text


def test_members_of_a_group_are_the_directorys(site: WithDirectory) -> None:
    ada, grace = site.person("ada"), site.person("grace")
    with ada.kernel() as member, grace.kernel() as teacher:
        teacher.run("open('shared/lab/lesson', 'w').write('E = mc2')")
        look = "import os; print(os.listdir('/shared'), open('shared/lab/lesson').read())"
        assert member.run(look) == "['lab'] E = mc2\n"
        with pytest.raises(KernelError, match="Read-only file system"):
            member.run("open('shared/lab/mine', 'w')")
    (described,) = json.loads(site.service.sudo(f"docker inspect {container('ada')}"))
    assert described["HostConfig"]["Memory"] == 600 << 20


ADA, LAB = f"uid=ada,{slapd.PEOPLE}", f"cn=lab,{slapd.GROUPS}"


def test_who_leaves_is_out_within_a_minute(site: WithDirectory) -> None:
    bob = site.person("bob")
    with bob.kernel() as kernel:
        kernel.run("import os; kept = os.getpid()")
        for leave, come_back in (
            (f"dn: {ADA}\nchangetype: modify\nadd: employeeType\nemployeeType: gone",
             f"dn: {ADA}\nchangetype: modify\ndelete: employeeType"),
            (f"dn: {LAB}\nchangetype: modify\ndelete: member\nmember: {ADA}",
             f"dn: {LAB}\nchangetype: modify\nadd: member\nmember: {ADA}"),
            (f"dn: {ADA}\nchangetype: delete", ""),
        ):  # fmt: skip
            ada = site.person("ada")
            site.change(leave)
            begun = time.monotonic()
            eventually("the server is gone", lambda: not site.has_container("ada"))
            assert time.monotonic() - begun < 60
            assert ada.request("GET", "/hub/api/user").status_code == 403
            assert site.visitor("ada").try_to_log_in(slapd.PASSWORD).status_code == 403
            assert kernel.run("print(os.getpid() == kept)") == "True\n"
            site.change(come_back)
    assert bob.is_logged_in()


def test_of_who_left_the_directory_nothing_is_kept_but_an_archive(site: WithDirectory) -> None:
    service, grace = site.service, site.person("grace")
    assert grace.request("GET", "/hub/api/users/ada").status_code == 200
    words = ("--data", "offboard_user=ada", "deploys/offboard.py")
    run = service.run(*words)
    assert run.status == 0 and "has the Hub end all sessions" in run.output, run.end
    eventually(
        "the Hub forgets her",
        lambda: grace.request("GET", "/hub/api/users/ada").status_code == 404,
    )
    assert service.sudo("ls -A /srv/hubstead/files /srv/hubstead/files/.removed").count("ada") == 0
    assert "/srv/hubstead/offboarded/ada-" in service.sudo("ls -d /srv/hubstead/offboarded/*")
    assert service.run(*words).changed == []


def test_nobody_is_out_because_the_directory_is(site: WithDirectory) -> None:
    bob = site.person("bob")
    with bob.kernel() as kernel:
        kernel.run("kept = 1")
        site.service.sudo("systemctl kill --signal=STOP directory")
        try:
            time.sleep(50)
            assert kernel.run("print(kept)") == "1\n"
            answer = site.visitor("grace").try_to_log_in(slapd.PASSWORD)
            assert answer.status_code == 503 and "does not answer at the moment" in answer.text
        finally:
            site.service.sudo("systemctl kill --signal=CONT directory")
        # for some seconds it is not asked again
        patiently(lambda: site.visitor("grace").log_in(slapd.PASSWORD))
        assert kernel.run("print(kept)") == "1\n"


def test_a_run_says_what_is_wrong(site: WithDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "another secret word")
    wrong = site.service.run()
    assert wrong.status != 0
    assert "The directory does not answer as it should" in wrong.output
    assert "invalidCredentials" in wrong.output
    assert "another secret word" not in wrong.output
    monkeypatch.setenv(SECRET, slapd.READER_PASSWORD)
    run = site.service.run()
    assert run.status == 0, run.end


def test_nothing_secret_is_told(site: WithDirectory) -> None:
    for secret in (slapd.READER_PASSWORD, slapd.PASSWORD, "another secret word"):
        quoted = shlex.quote(secret)
        found = site.service.sudo(
            f"journalctl -q -u jupyterhub | grep -cF {quoted} || true;"
            f" grep -rlF {quoted} /etc/jupyterhub /etc/hubstead /var/lib/jupyterhub"
            " /var/lib/hubstead /etc/systemd/system || true"
        ).split()
        kept = ["/etc/jupyterhub/credentials/ldap-bind-password"]
        assert found == ["0", *(kept if secret == slapd.READER_PASSWORD else [])]
    assert "Traceback" not in site.service.sudo("journalctl -q -u jupyterhub --since=-1h")
