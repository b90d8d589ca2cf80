"""The front's certificate by ACME, and from files: issued, renewed, refused, and given up.

One host goes from front to front; Pebble validates for real.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from lab import Lab
from lab.acme import Pebble
from tests.kit.certificates import issue, names_extension, sign
from tests.kit.front import CHECK, FRONTS, NAME, NAMES, Front
from tests.kit.support import PROJECT, eventually, params

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/acme.py"
LEFTOVERS = "ls -d /etc/letsencrypt /var/lib/letsencrypt 2>/dev/null || true"
CHALLENGE = "/.well-known/acme-challenge/token"

#: What certbot does by itself is the same behind each front
FIRST = pytest.mark.parametrize("front", ["traefik"], indirect=True)
LAST = pytest.mark.parametrize("front", ["chp"], indirect=True)
#: Those that `make test` leaves to `make test-all`
FURTHER = ("nginx", "apache")
SHORT_ALARM = f"""
mkdir -p /etc/systemd/system/{CHECK}.d
cat >/etc/systemd/system/{CHECK}.d/test.conf <<END
[Service]
ExecStart=
ExecStart=/usr/local/lib/hubstead/certificate-check {560 / 86400}
END
systemctl daemon-reload
"""
#: Answers as certbot does; whoever may not listen there fails
ANSWER = """
cd "$(mktemp -d)"
mkdir -p .well-known/acme-challenge
echo proof >.well-known/acme-challenge/token
exec python3 -m http.server --bind 127.0.0.1 8
"""
#: Traefik's certificate and what it kept of it, as it lay on a host when Traefik was the client
TRAEFIKS_OWN = """
import base64, hashlib, json, pathlib
public = pathlib.Path("/etc/hubstead/certificate")
wanted = json.loads((public / "wanted.json").read_text())
asked = f"{wanted['directory']} {wanted['key_type']}".encode()
resolver = f"acme-{hashlib.sha256(asked).hexdigest()[:8]}"
certificate = base64.b64encode((public / "fullchain.pem").read_bytes()).decode()
store = pathlib.Path("/var/lib/traefik/acme")
store.mkdir()
stored = {resolver: {"Account": {}, "Certificates": [{"certificate": certificate}]}}
(store / "acme.json").write_text(json.dumps(stored))
"""
#: The same certificate under the options with which fronts that certbot served had it
WEBROOT = r"""
sed -i -e '/^http01/d' -e 's/^authenticator = .*/authenticator = webroot/' \
    -e '$a webroot_path = /var/lib/hubstead/acme,' /etc/letsencrypt/renewal/hubstead.conf
mkdir /var/lib/hubstead/acme
"""
#: certbot 4 renews in the last half of so short a life
FREQUENT_TIMER = """
mkdir -p /etc/systemd/system/certbot.timer.d
cat >/etc/systemd/system/certbot.timer.d/test.conf <<END
[Timer]
OnCalendar=
OnCalendar=*:*:0/5
RandomizedDelaySec=0
AccuracySec=1s
END
conf=/etc/letsencrypt/renewal/hubstead.conf
grep -q '^renew_before_expiry' $conf || sed -i '1i renew_before_expiry = 30 days' $conf
systemctl daemon-reload
systemctl restart certbot.timer
"""


#: The owner's: writes down what is around it, but for what is another one in each start of a unit
HOOK = r"""
cat >$directory/hooks/owners <<'END'
#!/bin/sh
{
    env | grep -vE '^(INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|OLDPWD|PWD)=' | sort
    id; umask; readlink /proc/self/ns/net /proc/self/ns/mnt
    openssl x509 -noout -serial -in fullchain.pem
} >/root/told
END
chmod +x $directory/hooks/owners
"""


#: The administrator trusts the authority, whose responder runs on the host itself
RESPONDER = """
cd ~deploy
cp authority.pem /usr/local/share/ca-certificates/authority.crt
update-ca-certificates >/dev/null 2>&1
systemctl stop responder 2>/dev/null || true
systemd-run -q --collect --unit=responder -p WorkingDirectory=$PWD openssl ocsp -port 8889 \
    -index index.txt -CA authority.pem -rsigner responder.pem -rkey responder.key -ndays 1
until ss -Hltn sport = :8889 | grep -q .; do sleep 0.1; done
"""


@pytest.fixture(scope="module", params=params(FRONTS, FURTHER))
def front(request: pytest.FixtureRequest, acme: Pebble, lab: Lab) -> Iterator[Front]:
    front = Front(lab, acme, request.param)
    first = front.deploy()
    assert first.status == 0, first.end
    yield front
    acme.start()


@pytest.fixture
def names_of() -> Any:
    def names(certificate: x509.Certificate) -> list[str]:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return sorted(extension.value.get_values_for_type(x509.DNSName))

    return names


def test_every_name_has_the_certificate_and_a_second_run_changes_nothing(
    front: Front, names_of: Any
) -> None:
    front.check_verifies(front.acme.root())
    assert names_of(front.served()) == sorted(NAMES)
    serial = front.serial()
    second = front.deploy()
    assert (second.status, second.changed) == (0, []), second.end
    assert front.serial() == serial
    assert front.sudo(f"systemctl restart {CHECK}; cat /var/lib/prometheus/node-exporter/*.prom")


def test_http_leads_to_https(front: Front) -> None:
    curl = f"curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}' http://{NAME}/a?b=c"
    status, url = front.sudo(curl).split()
    assert status in ("301", "308") and url == f"https://{NAME}/a?b=c"


def test_a_forced_renewal_is_served_within_a_minute(front: Front) -> None:
    serial, began = front.serial(), time.monotonic()
    front.sudo("hubstead-certificate renew")
    eventually("a new certificate", lambda: front.serial() not in (0, serial), 60)
    assert time.monotonic() - began < 60
    front.check_verifies(front.acme.root())


@FIRST
def test_hooks_run_alike_whoever_renewed_the_certificate(front: Front) -> None:
    """certbot's timer, a unit in a sandbox, a person; the certificate is the new one each time."""
    again = "certbot renew -q --cert-name hubstead --force-renewal --no-random-sleep-on-renew"
    ways = {
        "/etc/hubstead/certificate": [
            "LANG=de_DE.UTF-8 hubstead-certificate renew",
            f"cd /tmp; umask 077; {again}",
        ],
        "/etc/hubstead/tls": [
            "rm /etc/hubstead/tls/issued-for; systemctl start hubstead-certificate"
        ],
    }
    told = []
    for directory, renewals in ways.items():
        front.sudo(f"directory={directory}{HOOK}")
        for renewal in renewals:
            front.sudo(f"rm -f /root/told; {renewal}")
            *around, serial = front.sudo("cat /root/told").splitlines()
            told.append(around)
            serial_of = f"openssl x509 -noout -serial -in {directory}/fullchain.pem"
            assert front.sudo(serial_of).strip() == serial
        front.sudo(f"rm {directory}/hooks/owners")
    assert all(around == told[0] for around in told), told


@FIRST
def test_a_hook_that_fails_stops_nothing(front: Front) -> None:
    hook, failure = "/etc/hubstead/certificate/hooks/0-mail", "echo no such mailbox; exit 3"
    front.sudo(f"printf '#!/bin/sh\\n{failure}\\n' >{hook}; chmod +x {hook}")
    serial = front.serial()
    front.sudo("hubstead-certificate renew")
    eventually("a new certificate", lambda: front.serial() not in (0, serial), 60)
    assert "no such mailbox" in front.sudo("journalctl -u hubstead-certificate-hooks -o cat")
    run = front.deploy()
    assert (run.status, run.changed) == (0, ["settled | Run hooks again that failed"]), run.end
    assert f"{hook} failed, which runs when the certificate was replaced" in run.output
    front.sudo(f"echo '#!/bin/sh' >{hook}")
    assert front.deploy().status == 0
    assert front.sudo("systemctl --failed --no-legend") == ""
    again = front.deploy()
    assert (again.status, again.changed) == (0, []), again.end
    front.sudo(f"rm {hook}")


def test_challenges_pass_to_root_alone(front: Front) -> None:
    """The whole time: whoever listened there could have certificates for the service's names."""
    curl = "curl -s --noproxy '*' -w ' %{http_code}'"
    ask = f"{curl} http://{NAME}{CHALLENGE}"
    assert front.sudo(ask).split()[-1] in ("404", "502", "503")
    refused = front.sudo(f"sudo -u nobody sh -c {shlex.quote(ANSWER)}", check=False)
    assert "Permission denied" in refused
    front.sudo(f"systemd-run -q --unit=answer --collect sh -euc {shlex.quote(ANSWER)}")
    front.sudo("until ss -Hltn sport = :8 | grep -q .; do sleep 0.1; done")
    try:
        assert front.sudo(ask).split() == ["proof", "200"]
        other = f"{curl} -o /dev/null http://{NAME}/.well-known/acme-challeng"
        assert front.sudo(other).split()[-1] in ("301", "308")
    finally:
        front.sudo("systemctl stop answer")
    assert " ERR " not in front.sudo("journalctl -u traefik -o cat")


@FIRST
def test_a_certificate_that_was_had_in_another_way_is_kept(front: Front) -> None:
    serial = front.serial()
    front.sudo(WEBROOT)
    carried = front.deploy()
    assert carried.status == 0, carried.end
    assert front.serial() == serial
    front.sudo(
        f"python3 -c {shlex.quote(TRAEFIKS_OWN)}; cd /etc/letsencrypt;"
        " rm -r accounts archive live renewal;"
        " mv /var/lib/hubstead/roles/certbot /var/lib/hubstead/roles/resolver"
    )
    carried = front.deploy()
    assert carried.status == 0, carried.end
    assert front.serial() == serial
    assert front.deploy().changed == []
    assert (
        front.sudo("ls -d /var/lib/hubstead/acme /var/lib/traefik/acme 2>/dev/null || true") == ""
    )
    front.sudo("hubstead-certificate renew")
    eventually("a new certificate", lambda: front.serial() not in (0, serial), 60)


@FIRST
def test_another_name_is_another_certificate_once(front: Front, names_of: Any) -> None:
    more = [*NAMES, f"hub.{NAME}"]
    added = front.deploy(more)
    assert added.status == 0, added.end
    assert names_of(front.served()) == sorted(more)
    serial = front.serial()
    removed = front.deploy()
    assert removed.status == 0, removed.end
    assert names_of(front.served()) == sorted(NAMES)
    assert front.serial() != serial


@FIRST
def test_a_refusal_says_which_name_and_leaves_the_old_certificate(front: Front) -> None:
    serial = front.serial()
    failed = front.deploy([NAME, "nowhere.example.org", front.acme.name])
    assert failed.status == 1
    assert "nowhere.example.org has no address. Add an A or AAAA record" in failed.output
    elsewhere = front.lab.host(front.acme.name).address
    assert f"{front.acme.name} leads to {elsewhere}, and this host has" in failed.output
    assert front.serial() == serial
    front.acme.limit()
    failed = front.deploy([NAME, f"hub.{NAME}"])
    front.acme.start()
    assert f"{front.acme.directory} has had too many requests" in failed.output
    assert front.serial() == serial
    own = f"https://{NAME}/dir"
    failed = front.deploy(tls_acme_directory=own)
    assert f"{own} shows a certificate that this host does not trust" in failed.output
    assert "`base_ca_certificates`" in failed.output
    assert front.serial() == serial
    assert front.deploy().status == 0


@FIRST
def test_renewal_heals_once_the_server_is_back(front: Front) -> None:
    """Certificates are valid for ten minutes here, and the alarm begins 40 s after their issue."""
    front.acme.configure(validity=600)
    front.sudo("hubstead-certificate renew")
    serial = front.serial()
    front.sudo(SHORT_ALARM)
    front.acme.stop()
    try:
        front.sudo(FREQUENT_TIMER)
        eventually("the alarm", lambda: "exit-code" in front.alarm(), 120)
        assert "ends in 0.0 days: its renewal does not work" in front.warnings()
        failed = front.deploy([*NAMES, f"hub.{NAME}"])
        assert f"{front.acme.directory} cannot be reached from this host" in failed.output
        assert front.serial() == serial
    finally:
        front.acme.start()
    eventually("a renewed certificate", lambda: front.serial() not in (0, serial), 90)
    # as long as the timer lives, there is one that is new enough
    eventually("the end of the alarm", lambda: "success" in front.alarm())
    front.sudo("rm -r /etc/systemd/system/*.d/test.conf; systemctl daemon-reload")
    # the server has another root then, and has forgotten the account
    front.acme.configure(validity=90 * 86400)
    front.sudo("hubstead-certificate renew")


@LAST
def test_certificates_from_files_are_examined_first(
    front: Front, tmp_path: Path, names_of: Any
) -> None:
    files = {"tls_certificate": tmp_path / "one.pem", "tls_key": tmp_path / "one.key"}
    ours = issue(files["tls_certificate"], files["tls_key"], ["*.example.org", *NAMES])
    brought = front.deploy(tls="files", **files)
    assert brought.status == 0, brought.end
    assert front.serial() == ours
    again = front.deploy(tls="files", **files)
    assert (again.status, again.changed) == (0, []), again.end
    assert front.sudo(LEFTOVERS) == ""
    issue(tmp_path / "two.pem", tmp_path / "two.key", NAMES)
    mixed = front.deploy(
        tls="files",
        tls_certificate=files["tls_certificate"], tls_key=tmp_path / "two.key",
    )  # fmt: skip
    assert mixed.status == 1 and "is not the key of `tls_certificate`" in mixed.output
    assert "no host was touched" in mixed.output
    assert front.serial() == ours
    renewed = issue(files["tls_certificate"], files["tls_key"], NAMES)
    assert front.deploy(tls="files", **files).status == 0
    assert front.serial() == renewed


@LAST
def test_back_to_the_internal_authority_nothing_is_left(front: Front) -> None:
    internal = front.deploy(tls="internal")
    assert internal.status == 0, internal.end
    assert front.served().issuer.rfc4514_string().endswith("O=Hubstead")
    assert front.sudo(LEFTOVERS) == ""
    assert "certificate" not in front.sudo("ls /etc/hubstead /usr/local/lib/hubstead").split()


@LAST
@pytest.mark.parametrize("edge", ["nginx", pytest.param("apache", marks=pytest.mark.every)])
def test_the_authoritys_word_on_the_certificate_comes_along(
    front: Front, tmp_path: Path, edge: str
) -> None:
    """OCSP, stapled; the responder is one that the authority has delegated."""
    authority = sign("An authority", None, x509.BasicConstraints(True, None))
    responder = sign(
        "Its responder", authority, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
    )
    where = x509.UniformResourceIdentifier("http://127.0.0.1:8889")
    access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where)
    site = sign(
        "A site", authority, names_extension(NAMES), x509.AuthorityInformationAccess([access])
    )
    files = {"tls_certificate": tmp_path / "site.pem", "tls_key": tmp_path / "site.key"}
    files["tls_certificate"].write_bytes(site.pem + authority.pem)
    files["tls_key"].write_bytes(site.key_pem)
    ends = site.certificate.not_valid_after_utc
    index = f"V\t{ends:%y%m%d%H%M%S}Z\t\t{site.certificate.serial_number:X}\tunknown\t/O=A site\n"
    for name, text in (
        ("authority.pem", authority.pem), ("responder.pem", responder.pem),
        ("responder.key", responder.key_pem), ("index.txt", index.encode()),
    ):  # fmt: skip
        front.lab.run(NAME, f"cat >{name}", input=text.decode())
    front.sudo(RESPONDER)
    run = front.deploy(tls="files", proxy="traefik", edge=edge, edge_ocsp=True, **files)
    assert run.status == 0, run.end
    ask = f"openssl s_client -connect {NAME}:443 -servername {NAME} -status </dev/null 2>&1"
    eventually("a stapled answer", lambda: "Cert Status: good" in front.sudo(ask))
    front.sudo("systemctl stop responder")
