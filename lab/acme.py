"""A host that plays Let's Encrypt: Debian's Pebble, which validates for real (RFC 8555)."""

from __future__ import annotations

import json
import shutil
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.inventory import Spec
from lab.state import LabError, Record, write

if TYPE_CHECKING:
    from lab.checkout import Checkout

#: One a checkout
HELPER = Spec("acme.example.net", helper="acme")
FILES = Path(__file__).with_name("files") / "acme"
ETC = "etc/lab-acme"
INSTALL = """\
set -eu
if [ ! -x /usr/bin/pebble ]; then
    sudo apt-get -qq update
    sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends pebble
fi
sudo systemctl --quiet enable --now lab-acme.service lab-acme-front.socket
"""


def note(host: Record, asks: bool) -> None:
    """Note down, as long as a host is there, whether it asks the helper for certificates."""
    if asks:
        _mark(host).touch()
    else:
        _mark(host).unlink(missing_ok=True)


def idle(hosts: Iterable[Record]) -> list[Record]:
    """The helper among a checkout's hosts, when none of them asks it any more."""
    hosts = list(hosts)
    wanted = any(_mark(host).exists() for host in hosts)
    return [] if wanted else [host for host in hosts if host.helper]


def _mark(host: Record) -> Path:
    return host.directory / "asks-acme"


class Pebble:
    """The ACME server that the lab plays, on a helper host, while hosts are up that ask one.

    Accounts and the issuing root last until Pebble restarts: `stop`, `start` and `limit` keep
    them; `configure` and a reboot of the host do not.
    """

    def __init__(self, lab: Checkout) -> None:
        self._lab = lab
        helpers = [host for host in lab.hosts() if host.helper]
        if not helpers:
            raise LabError('No ACME server is up: no host that is up has `tls` = "acme".')
        self._host = helpers[0]

    @property
    def name(self) -> str:
        """The helper's name."""
        return self._host.name

    @property
    def directory(self) -> str:
        """The URL that an ACME client is given."""
        return self._host.acme

    @property
    def authority(self) -> Path:
        """The PEM file with the authority of the API's own certificate."""
        return self._host.authority

    def root(self) -> str:
        """In PEM, the root of the certificates that Pebble issues in its present run."""
        context = ssl.create_default_context(cafile=self.authority)
        api = HTTPSConnection(self._host.address, 15000, timeout=10, context=context)
        api.request("GET", "/roots/0")
        return api.getresponse().read().decode()

    def stop(self) -> None:
        """The server is down: it refuses connections."""
        self._systemctl(
            "stop lab-acme-front.socket lab-acme-front.service lab-acme-limited.service"
        )

    def start(self) -> None:
        """The server is back, and knows its accounts, after `stop` or `limit`."""
        self._systemctl("stop lab-acme-limited.service")
        self._systemctl("start lab-acme-front.socket")

    def limit(self) -> None:
        """The server refuses every new order, with status 429, until `start`."""
        self._systemctl("start lab-acme-limited.service")

    def configure(self, validity: int) -> None:
        """Certificates are valid for so many seconds; Pebble has a new root, and no accounts."""
        file = self._host.root / ETC / "pebble.json"
        data = json.loads(file.read_text())
        data["pebble"]["certificateValidityPeriod"] = validity
        write(file, json.dumps(data, indent=2) + "\n")
        self._systemctl("restart lab-acme.service")

    def _systemctl(self, command: str) -> None:
        self._lab.run(self._host.name, f"sudo systemctl {command}")


def prepare(host: Record, root: Path) -> None:
    """Write what Pebble needs into the helper's filesystem, before the host boots."""
    if not host.authority.exists():
        _certify(host)
    shutil.copytree(FILES, root, dirs_exist_ok=True)
    for name in ("certificate.pem", "key.pem"):
        shutil.copy(host.directory / name, root / ETC / name)


def install(lab: Checkout, host: Record) -> str:
    """Install and run Pebble on the helper, which is up; the URL of its directory."""
    done = lab.run(host.name, INSTALL, check=False)
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-8:])
        raise LabError(f"{host.name} cannot run Pebble. Try again with the same command:\n{tail}")
    return host.acme


def _certify(host: Record) -> None:
    """Make the API's certificate, once a helper, and its authority, whose key nobody keeps."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"lab authority of {host.name}")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab ACME server")])
    key_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    # Python 3.13 refuses an authority without keyCertSign, and a certificate without this id.
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
    addresses = (ip_address(host.address), ip_address(host.address6))
    names = [x509.DNSName(host.name), *(x509.IPAddress(address) for address in addresses)]
    now = datetime.now(UTC)
    draft = (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
    )
    authority = (
        draft.subject_name(issuer)
        .serial_number(x509.random_serial_number())
        .public_key(authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(key_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        draft.subject_name(subject)
        .serial_number(x509.random_serial_number())
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    write(host.directory / "key.pem", secret, 0o600)
    write(host.directory / "certificate.pem", certificate.public_bytes(pem).decode())
    write(host.authority, authority.public_bytes(pem).decode())
