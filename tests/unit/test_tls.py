"""Certificates: what is examined on the control machine, and the plans that bring them about."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from pyinfra.api.exceptions import PyinfraError

from hubstead import pem
from hubstead.operations.pairs import PairState, parse_pair
from hubstead.settings.model import check
from tests.unit.plans import DEBIAN_13, TRUST, Plan

PEM = serialization.Encoding.PEM
DAY = timedelta(days=1)


def key_pem(key: Any, password: bytes | None = None) -> bytes:
    encryption: Any = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    text: bytes = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption)
    return text


def signed(
    key: Any,
    names: list[str],
    signer: Any = None,
    issuer: str = "leaf",
    ca: bool = False,
    begin: timedelta = -DAY,
    end: timedelta = 90 * DAY,
    extension: x509.ExtensionType | None = None,
) -> x509.Certificate:
    subject = "authority" if ca else "leaf"
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
    )
    if extension:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer or key, hashes.SHA256())


KEY = ec.generate_private_key(ec.SECP256R1())
NAMES = ["hub.example.org", "*.example.net"]


def text(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(PEM) for one in certificates)


def test_a_chain_in_order_is_taken_and_covers_its_names() -> None:
    authority = ec.generate_private_key(ec.SECP384R1())
    leaf = signed(KEY, NAMES, authority, "authority")
    chain = pem.chain(text(leaf, signed(authority, [], ca=True, issuer="authority")))
    pem.check_dates(chain)
    pem.check_key(key_pem(KEY), chain)
    asked = ["hub.example.org", "a.example.net", "example.net", "a.b.example.net", "10.0.0.1"]
    assert chain.missing(asked) == ["example.net", "a.b.example.net", "10.0.0.1"]


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: b"nothing", "holds no certificate in PEM"),
        (lambda: text(signed(KEY, NAMES, ca=True)), "of an authority, not of a host"),
        (
            lambda: text(signed(KEY, NAMES, issuer="x"), signed(KEY, NAMES)),
            r"certificate 2 in it \(CN=leaf\) did not sign certificate 1",
        ),
        (
            lambda: text(signed(rsa.generate_private_key(65537, 1024), NAMES)),
            "has a weak key. Make one with RSA of 2048 bits or more",
        ),
        (
            lambda: text(signed(KEY, NAMES, extension=x509.ExtendedKeyUsage([
                x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]))),
            "not for a server",
        ),
    ],
)  # fmt: skip
def test_a_certificate_that_will_not_do_is_refused(make: Callable[[], bytes], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        pem.chain(make())


@pytest.mark.parametrize(
    ("begin", "end", "fault"),
    [
        (-9 * DAY, -DAY, r"it expired on \d{4}-\d\d-\d\d\. Have it renewed"),
        (DAY, 9 * DAY, "it is not valid before"),
    ],
)
def test_dates_are_looked_at(begin: timedelta, end: timedelta, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        pem.check_dates(pem.chain(text(signed(KEY, NAMES, begin=begin, end=end))))


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        (key_pem(ec.generate_private_key(ec.SECP256R1())), "not the key of `tls_certificate`"),
        (key_pem(KEY, b"secret"), "is encrypted"),
        (b"-----BEGIN PRIVATE KEY-----\nsecret\n", "holds no private key"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_and_not_shown(key: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as error:
        pem.check_key(key, pem.chain(text(signed(KEY, NAMES))))
    assert "secret" not in str(error.value)


@pytest.fixture
def brought(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "one.pem").write_bytes(text(signed(KEY, NAMES)))
    (tmp_path / "one.key").write_bytes(key_pem(KEY))
    paths = {"tls_certificate": tmp_path / "one.pem", "tls_key": tmp_path / "one.key"}
    return {"tls": "files", "hub_names": ["hub.example.org"], **TRUST, **paths}


def test_settings_name_the_key_and_the_mend(brought: dict[str, Any]) -> None:
    assert check(brought) == []
    assert check({"tls": "files"}) == [
        "`tls` = 'files' needs `tls_certificate`, the path of a PEM file here"
    ]
    absent = brought["tls_key"].with_name("absent")
    (mistake,) = check(brought | {"tls_key": absent})
    assert mistake == f"`tls_key` = {absent}: cannot be read: No such file or directory"
    (mistake,) = check({"tls_acme_directory": "http://acme.example.org/"})
    assert "not the URL of a directory, such as https://acme-v02" in mistake
    (mistake,) = check(
        {"tls_acme_staging": True, "tls_acme_directory": "https://acme.example.org/dir"}
    )
    assert "remove one of them" in mistake
    (mistake,) = check(brought | {"edge": "nginx", "edge_site": False})
    assert "the site and its certificate are yours: remove `tls`" in mistake


def test_a_certificate_without_one_of_the_names_touches_no_host(
    plan: Plan, brought: dict[str, Any]
) -> None:
    names = ["hub.example.org", "www.example.org"]
    with pytest.raises(PyinfraError, match=r"it is not for www\.example\.org\. Have one issued"):
        plan("tls", data=brought | {"hub_names": names})


def test_a_certificate_near_its_end_is_warned_about(
    plan: Plan, brought: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    run = plan("tls", data=brought)
    assert caplog.text == ""
    brought["tls_certificate"].write_bytes(text(signed(KEY, NAMES, end=10 * DAY)))
    plan("tls", data=brought)
    assert "`tls_certificate` ends on" in caplog.text
    run.execute()
    secret = key_pem(KEY).decode().splitlines()[1]
    assert secret not in "\n".join(run.sent.commands)


@pytest.mark.parametrize("name", ["localhost", "10.0.0.1"])
def test_acme_is_for_names_of_the_internet(plan: Plan, name: str) -> None:
    with pytest.raises(PyinfraError, match=f"{name}: no ACME server certifies that"):
        plan("tls", data={"tls": "acme", "hub_names": [name]})


FRONTS: list[dict[str, Any]] = [{}, {"proxy": "chp"}, {"edge": "nginx"}, {"edge": "apache"}]
ACME = {"tls": "acme", "hub_names": ["hub.example.org", "www.example.org"]}


@pytest.mark.parametrize("front", FRONTS)
def test_certbot_asks_behind_every_front(plan: Plan, front: dict[str, Any]) -> None:
    run = plan("all", data=ACME | front)
    asked = [name for name in run.names if name.endswith("| Get the certificate")]
    assert asked == ["certbot | Get the certificate"]
    assert run.names.index(asked[0]) > run.names.index("jupyterhub | Run JupyterHub")


@pytest.mark.parametrize("front", FRONTS)
def test_challenges_pass_where_there_are_some(plan: Plan, front: dict[str, Any]) -> None:
    role = front.get("edge") or front.get("proxy") or "traefik"
    for data, passes in ((ACME, True), ({}, False)):
        run = plan(role, data=data | front)
        run.sent.commands.clear()
        run.sent.inputs.clear()
        run.execute()
        text = "\n".join(run.files.values())
        assert bool(re.search(r"http://127\.0\.0\.1:8\b", text)) == passes


def test_a_port_that_every_account_can_take_is_refused(plan: Plan) -> None:
    opened = {"ip_unprivileged_port_start": "0"}
    with pytest.raises(PyinfraError, match="lets every account listen on port 8"):
        plan("certbot", data=ACME, responses=opened)


@pytest.mark.parametrize(
    ("service", "options", "secret", "line"),
    [
        ("rfc2136", {"server": "192.0.2.53", "name": "key"}, "SECRET", "dns_rfc2136_name = key"),
        ("cloudflare", {}, "API_TOKEN", "dns_cloudflare_api_token = dG9rZW4="),
        ("route53", {}, "ACCESS_KEY_ID", "aws_access_key_id = dG9rZW4="),
    ],
)
def test_answers_in_the_dns_need_no_port(
    plan: Plan, monkeypatch: pytest.MonkeyPatch,
    service: str, options: dict[str, str], secret: str, line: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(f"HUBSTEAD_DNS_{service.upper()}_{secret}", "dG9rZW4=")
    monkeypatch.setenv("HUBSTEAD_DNS_ROUTE53_SECRET_ACCESS_KEY", "dG9rZW4=")
    opened = {"ip_unprivileged_port_start": "0"}
    dns = {"tls_acme_dns": service, "tls_acme_dns_options": options}
    run = plan("certbot", data=ACME | dns, responses=opened)
    run.execute()
    assert line in run.files["/etc/letsencrypt/hubstead-dns.ini"].splitlines()
    assert f"python3-certbot-dns-{service}" in "\n".join(run.sent.commands)
    environment = "/etc/systemd/system/certbot.service.d/hubstead.conf"
    assert (environment in run.files) == (service == "route53")


def test_it_goes_when_the_settings_do_not_want_it(plan: Plan) -> None:
    deployed = DEBIAN_13 | {"roles": ["certbot", "traefik"], "bare": False}
    names = plan(machine=deployed).names
    assert "retire | certbot | Remove certbot" in names
    assert "settled | Remove the certificate from elsewhere" in names


def test_what_traefik_had_goes_and_its_certificate_stays(plan: Plan) -> None:
    deployed = DEBIAN_13 | {"roles": ["resolver", "traefik"], "bare": False}
    kept = "retire | resolver | Give certbot the certificate that Traefik got"
    names = plan(machine=deployed, data=ACME).names
    gone = names.index("retire | resolver | Remove Traefik's certificates")
    assert names.index(kept) < gone < names.index("traefik | Run Traefik")
    assert kept not in plan(machine=deployed).names


def test_the_state_of_a_pair() -> None:
    lines = ["current versions/0a", "announced versions/0a", "sum 0a1b"]
    assert parse_pair(lines) == PairState("0a1b", announced=True)
    assert parse_pair([lines[0], "announced ", lines[2]]) == PairState("0a1b", announced=False)
    assert parse_pair([]) == PairState()
