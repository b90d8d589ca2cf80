"""A certificate by DNS-01: the ACME server asks a zone, which certbot writes to (RFC 2136)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from cryptography import x509

from lab import Lab
from lab.acme import Pebble
from tests.kit.front import NAME, NAMES, Front
from tests.kit.support import PROJECT, Run, eventually
from tests.kit.zone import KEY, Zone

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/acme.py"
RENEWAL = "certbot renew --quiet --force-renewal --no-random-sleep-on-renew"
VARIABLE = "HUBSTEAD_DNS_RFC2136_SECRET"


@pytest.fixture(scope="module")
def front(lab: Lab, acme: Pebble) -> Front:
    """It has a certificate that it got over HTTP, before there was a zone."""
    front = Front(lab, acme, "nginx")
    first = front.deploy()
    assert first.status == 0, first.end
    return front


@pytest.fixture(scope="module")
def zone(lab: Lab, acme: Pebble, front: Front) -> Iterator[Zone]:
    zone = Zone(lab, acme.name, NAME)
    zone.start()
    yield zone
    zone.stop()


def deploy(front: Front, zone: Zone, **data: object) -> Run:
    options = {"server": zone.address, "name": KEY, "algorithm": "HMAC-SHA512"}
    settings = {"tls_acme_dns": "rfc2136", "tls_acme_dns_wait": 2}
    return front.deploy(**settings, tls_acme_dns_options=json.dumps(options), **data)


@pytest.fixture(autouse=True)
def _secret(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, zone.secret)


def test_a_switch_to_it_keeps_the_certificate_and_the_next_one_comes_by_it(
    front: Front, zone: Zone, acme: Pebble
) -> None:
    serial = front.serial()
    switched = deploy(front, zone)
    assert switched.status == 0, switched.end
    assert (front.serial(), zone.updates()) == (serial, 0)
    again = deploy(front, zone)
    assert (again.status, again.changed) == (0, []), again.end
    assert "acme-challenge" not in front.sudo("cat /etc/nginx/sites-enabled/*")
    # by hand, which finds that the server was started anew and has no account of it; as the timer
    seen = {0, serial}
    for renewal in ("hubstead-certificate renew", RENEWAL):
        before = zone.updates()
        front.sudo(renewal)
        eventually("a new certificate", lambda: front.serial() not in seen)
        seen.add(front.serial())
        front.check_verifies(acme.root())
        # with AUTHZREUSE=0, Pebble asks again but for one name in a hundred (its wfe.go: Intn > 0)
        assert before < zone.updates() <= before + len(NAMES)
    assert deploy(front, zone).changed == []


def test_a_name_for_each_person_is_in_one_certificate(
    front: Front, zone: Zone, acme: Pebble
) -> None:
    """A wildcard, which an ACME server gives for answers in the DNS alone (RFC 8555, 7.1.3)."""
    apart = {"hub_user_domains": True, "hub_people_trust_each_other": False}
    seen = {0, front.serial()}
    run = deploy(front, zone, names=[NAME], **apart)
    assert run.status == 0, run.end
    for renewal in ("true", RENEWAL):
        front.sudo(renewal)
        eventually("a new certificate", lambda: front.serial() not in seen)
        seen.add(front.serial())
        names = front.served(f"eve.{NAME}").extensions
        wanted = names.get_extension_for_class(x509.SubjectAlternativeName).value
        assert sorted(wanted.get_values_for_type(x509.DNSName)) == [f"*.{NAME}", NAME]
    assert front.alarm() == "success\n"
    again = deploy(front, zone, names=[NAME], **apart)
    assert (again.status, again.changed) == (0, []), again.end
    assert deploy(front, zone).status == 0


def test_a_secret_that_is_missing_or_wrong_leaves_the_certificate(
    front: Front, zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = front.serial()
    monkeypatch.delenv(VARIABLE)
    missing = deploy(front, zone)
    assert missing.status == 1 and f"each run as {VARIABLE}" in missing.output
    monkeypatch.setenv(VARIABLE, "d3Jvbmc=")
    wrong = deploy(front, zone, names=[*NAMES, f"hub.{NAME}"])
    assert wrong.status == 1
    assert "could not write the answer" in wrong.output and "d3Jvbmc=" not in wrong.output
    assert front.serial() == serial
    monkeypatch.setenv(VARIABLE, zone.secret)
    right = deploy(front, zone)
    assert (right.status, front.serial()) == (0, serial), right.end


def test_the_secret_is_roots_alone(front: Front, zone: Zone) -> None:
    readable = "find /etc /var /run /tmp /root /home -xdev -type f ! -perm 600 -print0 2>/dev/null"
    found = front.sudo(f"{readable} | xargs -0r grep -lF '{zone.secret}' || true")
    assert [line for line in found.splitlines() if "journal" not in line] == []
    assert zone.secret not in front.sudo("journalctl -b --no-pager | grep -v sudo")


@pytest.mark.every
def test_back_over_http_nothing_of_it_is_left(front: Front, zone: Zone) -> None:
    serial = front.serial()
    zone.stop()
    back = front.deploy()
    assert back.status == 0, back.end
    again = front.deploy()
    assert (again.status, again.changed, front.serial()) == (0, [], serial), again.end
    assert "hubstead-dns" not in front.sudo("ls /etc/letsencrypt")
    # the server has forgotten the account, and has another root
    front.sudo("hubstead-certificate renew")
    assert front.serial() != serial
    assert front.deploy(tls="internal").status == 0
    plugins = front.sudo("dpkg-query -W 'python3-certbot*' 2>/dev/null || true")
    assert front.sudo("ls /etc/letsencrypt 2>/dev/null || true") + plugins == ""
