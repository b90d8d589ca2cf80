"""The host's own certificate, and pairs in their directories, by the programs themselves."""

from __future__ import annotations

import pytest

from hubstead.operations.internal_ca import SCRIPT as INTERNAL
from hubstead.operations.pairs import HOOKS, INSTALL, TELL
from tests.programs.conftest import Machine

DIRECTORY = "/etc/hubstead/tls"
PUBLIC = "/etc/hubstead/certificate"
COMMAND = "/usr/local/sbin/hubstead-certificate"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/hubstead"
SERIAL = f"openssl x509 -noout -serial -in {DIRECTORY}/fullchain.pem"
#: Makes a self-signed certificate and its key: the files a.pem and a.key for the word a
PAIR = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90"
    " -subj /CN=hub.example.org -keyout {0}.key -out {0}.pem 2>/dev/null"
)


@pytest.fixture
def host(machine: Machine) -> Machine:
    """A machine whose own authority has certified two names."""
    machine.run("getent group hubstead-tls >/dev/null || groupadd hubstead-tls")
    machine.run(f"mkdir -p {DIRECTORY}/hooks {PUBLIC}/hooks")
    for file in ("names", "permitted"):
        machine.write(f"{DIRECTORY}/{file}", "hub.example.org\n192.0.2.1\n")
    for path, name in (
        (INSTALL, "install-certificate.sh"),
        (TELL, "certificate-hooks.sh"),
        (INTERNAL, "internal-certificate.sh"),
        (COMMAND, "hubstead-certificate.sh"),
        (HOOK, "certbot-deploy-hook.sh"),
    ):
        machine.install(path, name)
    # what the unit does
    start = f'[ "$*" = "start {HOOKS}.service" ] && exec {TELL} {DIRECTORY} {PUBLIC}'
    machine.write("/usr/local/bin/systemctl", f"#!/bin/sh\n{start}\n", "755")
    machine.run(INTERNAL)
    return machine


def test_the_certificate_has_the_names_and_is_the_authoritys(host: Machine) -> None:
    shown = host.says(f"openssl x509 -in {DIRECTORY}/fullchain.pem -noout -ext subjectAltName")
    assert "DNS:hub.example.org, IP Address:192.0.2.1" in shown
    host.run(f"openssl verify -CAfile {DIRECTORY}/ca.pem {DIRECTORY}/fullchain.pem")
    access = f"cd {DIRECTORY}; stat -Lc '%a %U %G' fullchain.pem key.pem ca-key.pem"
    assert host.says(access).splitlines() == [
        "644 root root",
        "640 root hubstead-tls",
        "600 root root",
    ]


def test_it_is_issued_anew_for_other_names_alone(host: Machine) -> None:
    root, serial = host.says(f"cat {DIRECTORY}/ca.pem"), host.says(SERIAL)
    assert host.says(f"{INTERNAL} --check") == "valid"
    host.run(INTERNAL)
    assert host.says(SERIAL) == serial
    host.write(f"{DIRECTORY}/names", "hub.example.org\n")
    assert host.says(f"{INTERNAL} --check") == ""
    host.run(INTERNAL)
    assert host.says(SERIAL) != serial
    assert host.says(f"cat {DIRECTORY}/ca.pem") == root


def test_hooks_run_once_for_each_certificate(host: Machine) -> None:
    host.write(f"{DIRECTORY}/hooks/note", "#!/bin/sh\necho ran >>/run/notes\n", "755")
    host.run(INTERNAL)
    assert host.run("cat /run/notes", check=False).stdout == ""
    host.write(f"{DIRECTORY}/way", "internal\n")
    host.run(f"{COMMAND} renew; {INTERNAL}; {INSTALL} {DIRECTORY}")
    assert host.says("cat /run/notes") == "ran"


def test_a_certificate_with_another_key_is_refused(host: Machine) -> None:
    host.run(f"cd /run; {PAIR.format('a')}; {PAIR.format('b')}")
    host.run(f"{INSTALL} {PUBLIC} /run/a.pem /run/a.key")
    done = host.run(f"{INSTALL} {PUBLIC} /run/b.pem /run/a.key", check=False)
    assert done.returncode == 1 and "/run/a.key is not the key of /run/b.pem" in done.stderr
    host.run(f"cmp /run/a.pem {PUBLIC}/fullchain.pem; cmp /run/a.key {PUBLIC}/key.pem")
    assert host.says(f"ls {PUBLIC}/versions | wc -l") == "1"


@pytest.mark.parametrize(
    ("way", "code", "said"),
    [
        ("internal", 0, ""),
        ("files", 1, "run pyinfra again"),
        ("acme", 0, "certbot: renew\n"),
    ],
)
def test_a_renewal_goes_the_way_of_the_settings(
    host: Machine, way: str, code: int, said: str
) -> None:
    certbot = "/usr/local/lib/hubstead/certbot-certificate"
    host.write(certbot, '#!/bin/sh\necho "certbot: $*"\n', "755")
    host.write(f"{DIRECTORY}/way", f"{way}\n")
    before = host.says(SERIAL)
    done = host.run(f"{COMMAND} renew", check=False)
    assert done.returncode == code and said in done.stdout + done.stderr
    assert (host.says(SERIAL) != before) == (way == "internal")
    usage = host.run(COMMAND, check=False)
    assert usage.returncode == 2 and "usage: hubstead-certificate renew" in usage.stderr


def test_only_our_certificate_of_certbots_is_installed(host: Machine) -> None:
    for name in ("hubstead", "theirs"):
        host.run(f"mkdir -p /etc/letsencrypt/live/{name}; cd /run; {PAIR.format(name)}")
        for file, source in (("fullchain.pem", f"{name}.pem"), ("privkey.pem", f"{name}.key")):
            host.run(f"cp /run/{source} /etc/letsencrypt/live/{name}/{file}")
    host.run(f"RENEWED_LINEAGE=/etc/letsencrypt/live/theirs {HOOK}")
    assert host.run(f"cat {PUBLIC}/fullchain.pem", check=False).returncode
    host.run(f"RENEWED_LINEAGE=/etc/letsencrypt/live/hubstead {HOOK}")
    host.run(
        f"cmp /run/hubstead.pem {PUBLIC}/fullchain.pem; cmp /run/hubstead.key {PUBLIC}/key.pem"
    )
