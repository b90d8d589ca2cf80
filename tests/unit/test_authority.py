"""The host's own authority: for whom it can vouch, in the eyes of OpenSSL and Python."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hubstead import pem
from tests.kit.authority import Authority, serving
from tests.unit.plans import Plan

NAMES = ["hub.example.org", "www.example.net"]
#: The certificate itself has other names than the root permits: those of another day
PERMITTED = [*NAMES, "localhost", "db.example.org"]
#: What whoever has the key might want, as OpenSSL writes it; and the name under which it is shown
FORGED = {
    "another site": ("DNS:bank.example.com", "bank.example.com"),
    "a parent": ("DNS:example.org", "example.org"),
    "a neighbour": ("DNS:xhub.example.org", "xhub.example.org"),
    "every site": ("DNS:*.example.org", "hub.example.org"),
    "one of ours and another": ("DNS:hub.example.org, DNS:bank.example.com", "hub.example.org"),
    "an address": ("IP:127.0.0.1", "127.0.0.1"),
    "an address of IPv6": ("IP:::1", "::1"),
}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path)
    authority.issue(NAMES, PERMITTED)
    return authority


def unlimited(authority: Authority) -> bytes:
    """Put a root in place as earlier versions made it, with a certificate; the root."""
    authority.openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "3650", "-subj", "/O=Hubstead/CN=Hubstead authority of hub.example.org",
        "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout", "ca-key.pem", "-out", "ca.pem",
    )  # fmt: skip
    root = authority.root.read_bytes()
    certificate, key = authority.forge(",".join(f"DNS:{name}" for name in NAMES))
    authority.run("install-certificate", str(authority.directory), str(certificate), str(key))
    sans = ",".join(f"DNS:{name}" for name in NAMES)
    (authority.directory / "issued-for").write_text(f"{sans}\n")
    return root


def openssl_takes(root: Path, certificate: Path, name: str) -> bool:
    """As a program with OpenSSL, such as PostgreSQL's clients, Nginx and Apache, asks it."""
    what = "-verify_ip" if name[-1].isdigit() else "-verify_hostname"
    words = ["openssl", "verify", "-purpose", "sslserver", "-CAfile", root, what, name, certificate]
    return subprocess.run(words, capture_output=True).returncode == 0


def python_takes(root: Path, pair: tuple[Path, Path], name: str) -> bool:
    """As Python's ssl, and so requests, has it; strict as from Python 3.13 on."""
    context = ssl.create_default_context(cafile=str(root))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with serving(pair) as port, socket.create_connection(("127.0.0.1", port)) as plain:
        try:
            context.wrap_socket(plain, server_hostname=name).close()
        except ssl.SSLCertVerificationError:
            return False
        return True


@pytest.mark.parametrize("name", NAMES)
def test_the_hosts_certificate_is_taken(authority: Authority, name: str) -> None:
    assert authority.is_valid()
    assert openssl_takes(authority.root, authority.pair()[0], name)
    assert python_takes(authority.root, authority.pair(), name)


@pytest.mark.parametrize(("san", "name"), FORGED.values(), ids=FORGED)
def test_its_key_makes_no_certificate_for_others(authority: Authority, san: str, name: str) -> None:
    forged = authority.forge(san)
    assert not openssl_takes(authority.root, forged[0], name)
    assert not python_takes(authority.root, forged, name)


@pytest.mark.parametrize(
    ("san", "subject"),
    [
        ("email:ada@example.com", "/CN=Ada"),
        ("URI:https://bank.example.com/", "/CN=Bank"),
        # without other names, some take this for one
        ("email:ada@invalid", "/CN=bank.example.com"),
    ],
)
def test_nor_for_anything_but_a_server_of_ours(
    authority: Authority, san: str, subject: str
) -> None:
    certificate, _ = authority.forge(san, subject)
    for purpose in ("sslserver", "any"):
        words = ["openssl", "verify", "-purpose", purpose, "-CAfile", authority.root, certificate]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode and "permitted subtree violation" in done.stderr
    certificate, _ = authority.forge("DNS:hub.example.org")
    for purpose in ("smimesign", "sslclient", "timestampsign"):
        words = ["openssl", "verify", "-purpose", purpose, "-CAfile", authority.root, certificate]
        assert subprocess.run(words, capture_output=True).returncode


def test_addresses_are_permitted_one_by_one(tmp_path: Path) -> None:
    """A host that others reach by its address; of names it needs none then."""
    authority = Authority(tmp_path)
    authority.issue(["127.0.0.1", "2001:db8::5"])
    assert authority.is_valid()
    assert openssl_takes(authority.root, authority.pair()[0], "127.0.0.1")
    assert openssl_takes(authority.root, authority.pair()[0], "2001:db8::5")
    assert python_takes(authority.root, authority.pair(), "127.0.0.1")
    for san, name in (
        ("IP:127.0.0.2", "127.0.0.2"), ("IP:2001:db8::6", "2001:db8::6"),
        ("DNS:localhost", "localhost"),
    ):  # fmt: skip
        forged = authority.forge(san)
        assert not openssl_takes(authority.root, forged[0], name)
        assert not python_takes(authority.root, forged, name)


def test_a_further_name_below_needs_no_new_root(authority: Authority) -> None:
    root, certificate = authority.root.read_bytes(), authority.pair()[0].read_bytes()
    more = [*NAMES, "a.hub.example.org", "localhost"]
    authority.issue(more, [*PERMITTED, "a.hub.example.org"])
    assert authority.root.read_bytes() == root and authority.is_valid()
    assert authority.pair()[0].read_bytes() != certificate
    assert openssl_takes(authority.root, authority.pair()[0], "a.hub.example.org")
    authority.issue(NAMES[:1])
    assert authority.root.read_bytes() == root and authority.is_valid()


def test_a_name_elsewhere_is_a_new_root_with_another_key(authority: Authority) -> None:
    root, key = authority.root.read_bytes(), (authority.directory / "ca-key.pem").read_bytes()
    said = authority.issue([*NAMES, "hub.example.com"])
    assert f"has to trust {authority.root}" in said
    assert authority.root.read_bytes() != root and authority.is_valid()
    assert (authority.directory / "ca-key.pem").read_bytes() != key
    assert openssl_takes(authority.root, authority.pair()[0], "hub.example.com")


def test_a_root_of_before_is_limited_and_nobody_is_locked_out(authority: Authority) -> None:
    """Who trusts the old one gets in, who trusts the new one too, and nothing is issued anew."""
    old = authority.directory / "old.pem"
    old.write_bytes(unlimited(authority))
    before = authority.pair()[0].read_bytes()
    assert not authority.is_valid()
    authority.issue(NAMES, PERMITTED)
    assert authority.is_valid()
    assert authority.pair()[0].read_bytes() == before
    authority.run("internal-certificate")
    limited = authority.root.read_bytes()
    for _ in "the present certificate", "a new one":
        for root in (old, authority.root):
            assert openssl_takes(root, authority.pair()[0], NAMES[0])
            assert python_takes(root, authority.pair(), NAMES[0])
        (authority.directory / "issued-for").unlink()
        authority.run("internal-certificate")
    assert authority.root.read_bytes() == limited
    forged = authority.forge("DNS:bank.example.com")
    assert openssl_takes(old, forged[0], "bank.example.com")
    assert not openssl_takes(authority.root, forged[0], "bank.example.com")


def test_a_wrong_clock_costs_nobody_the_root(authority: Authority) -> None:
    """To a host that does not know the time yet, the root is not valid."""
    authority.openssl(
        "x509", "-in", "ca.pem", "-signkey", "ca-key.pem", "-days", "-1", "-out", "ended.pem"
    )
    authority.root.write_bytes((authority.directory / "ended.pem").read_bytes())
    authority.run("internal-certificate")
    assert not authority.is_valid()
    assert authority.root.read_bytes() == (authority.directory / "ended.pem").read_bytes()


def test_what_is_below_is_told_from_what_is_not(authority: Authority) -> None:
    root = authority.root.read_bytes()
    asked = ["hub.example.org", "a.HUB.example.org", "xhub.example.org", "example.org", "10.0.0.1"]
    assert pem.outside(root, asked) == ["xhub.example.org", "example.org", "10.0.0.1"]
    assert pem.outside(unlimited(authority), asked) is None
    authority.root.unlink()
    authority.issue(["10.0.0.1", "2001:db8::5"])
    asked = ["10.0.0.1", "2001:db8::5", "10.0.0.2", "hub.example.org"]
    assert pem.outside(authority.root.read_bytes(), asked) == asked[2:]


def test_the_root_is_for_the_service_and_the_host_itself(plan: Plan) -> None:
    """And for what another front would need: nobody has to trust a new one for that."""
    run = plan("tls", data={"hub_names": NAMES, "base_address": "10.0.0.5"})
    run.execute()
    permitted = run.files["/etc/hubstead/tls/permitted"].split()
    assert permitted == [*NAMES, "localhost", "10.0.0.5"]


def foretold(
    plan: Plan, authority: Authority, caplog: pytest.LogCaptureFixture, **data: Any
) -> str:
    """What a run says of the root that the host has, before it changes anything."""
    caplog.clear()
    path = "/etc/hubstead/tls/ca.pem"
    lines = "\n".join(f"{path}:{line}" for line in authority.root.read_text().splitlines())
    plan("tls", data={"hub_names": NAMES, **data}, responses={f"find {path} ": lines})
    return caplog.text


def test_people_are_told_when_they_have_to_trust_another_root(
    plan: Plan, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    below = [*NAMES, "a.hub.example.org"]
    assert foretold(plan, authority, caplog) == ""
    assert foretold(plan, authority, caplog, hub_names=below) == ""
    elsewhere = [*NAMES, "hub.example.com"]
    said = foretold(plan, authority, caplog, hub_names=elsewhere)
    assert "cannot vouch for hub.example.com. This run makes a new one" in said
    assert "until they trust /etc/hubstead/tls/ca.pem anew" in said
    # what people see is not from it then
    names = {"hub_names": elsewhere, "tls": "acme"}
    assert foretold(plan, authority, caplog, **names) == ""
    unlimited(authority)
    said = foretold(plan, authority, caplog)
    assert "limits it to hub.example.org, www.example.net, localhost, and what lies below" in said
    assert "Who trusts the old one gets in as before" in said and "remove the old one" in said
