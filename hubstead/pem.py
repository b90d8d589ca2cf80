"""Certificates and keys in PEM, examined on the control machine."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

#: Bits that a key has at least: NIST SP 800-131A, and what browsers take
LEAST_RSA, LEAST_EC = 2048, 256
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)


@dataclass(frozen=True)
class Chain:
    """A host's certificate, and each one that signed the one before."""

    certificates: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        """The host's own."""
        return self.certificates[0]

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that the certificate is not for. Rule: RFC 6125, 6.4."""
        try:
            extension = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return list(names)
        patterns = [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]
        addresses = extension.value.get_values_for_type(x509.IPAddress)
        return [
            name
            for name in names
            if not any(_matches(name, pattern) for pattern in patterns)
            and not any(name == str(address) for address in addresses)
        ]


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        # one label, and no address
        return name.partition(".")[2] == pattern[2:] and not _is_address(name)
    return name == pattern


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def chain(pem: bytes) -> Chain:
    """The certificates in `pem`. Raises ValueError, with what is wrong and how to mend it."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(
            "holds no certificate in PEM, a text with the line -----BEGIN CERTIFICATE-----. "
            "`openssl x509 -inform der` or `openssl pkcs12 -nokeys` makes one of other formats"
        ) from None
    for number, (one, signer) in enumerate(itertools.pairwise(certificates), 1):
        try:
            one.verify_directly_issued_by(signer)
        except (ValueError, TypeError, InvalidSignature):
            raise ValueError(
                f"certificate {number + 1} in it ({_subject(signer)}) did not sign certificate "
                f"{number} ({_subject(one)}). Put the host's own first, and after each one the one "
                "that signed it"
            ) from None
    _check_leaf(certificates[0])
    return Chain(tuple(certificates))


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "without a subject"


def _check_leaf(leaf: x509.Certificate) -> None:
    if isinstance(leaf.signature_hash_algorithm, _WEAK_HASHES):
        raise ValueError(
            f"is signed with {leaf.signature_hash_algorithm.name}, which browsers refuse. Have a "
            "new one issued"
        )
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise ValueError(
                "is the certificate of an authority, not of a host. Have it sign a certificate "
                "for the host, and put that first"
            )
        if isinstance(value, x509.ExtendedKeyUsage) and not (
            {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
            & set(value)
        ):
            raise ValueError("is not for a server (no serverAuth in it). Have a new one issued")
    _check_strength(leaf.public_key())


def _check_strength(key: PublicKeyTypes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        enough, least = key.key_size >= LEAST_RSA, f"RSA of {LEAST_RSA} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        enough, least = key.curve.key_size >= LEAST_EC, f"an elliptic curve of {LEAST_EC} bits"
    else:
        raise ValueError("has a key that browsers do not take. Make one with RSA or P-256")
    if not enough:
        raise ValueError(f"has a weak key. Make one with {least} or more")


def outside(root: bytes, names: Iterable[str]) -> list[str] | None:
    """Those of `names` for which an authority's root may not vouch; None where it may for any.

    Rule: RFC 5280, 4.2.1.10. Raises ValueError for what is no certificate.
    """
    certificate = x509.load_pem_x509_certificate(root)
    try:
        limits = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    permitted = [limit.value for limit in limits.permitted_subtrees or []]
    return [name for name in names if not any(_is_below(name, limit) for limit in permitted)]


def _is_below(name: str, limit: object) -> bool:
    if _is_address(name):
        return limit == ipaddress.ip_network(name)
    return isinstance(limit, str) and f".{name}".lower().endswith(f".{limit}".lower())


def check_dates(certificates: Chain, now: datetime | None = None) -> None:
    """Raises ValueError for a chain that is not valid now, or no longer."""
    now = now or datetime.now(UTC)
    for number, one in enumerate(certificates.certificates):
        which = f"the certificate of its authority ({_subject(one)})" if number else "it"
        if one.not_valid_after_utc <= now:
            raise ValueError(f"{which} expired on {one.not_valid_after_utc:%F}. Have it renewed")
        if one.not_valid_before_utc > now:
            raise ValueError(
                f"{which} is not valid before {one.not_valid_before_utc:%F %H:%M} UTC. Wait until "
                "then, or set this machine's clock"
            )


def check_key(pem: bytes, certificates: Chain) -> None:
    """Raises ValueError for what is not the key of the certificate; it never shows the key."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError(
            "is encrypted, and a host has to start without a person. Write it without a password "
            "(`openssl pkey -in OLD -out NEW`), readable to you alone"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no private key in PEM") from None
    if key.public_key() != certificates.leaf.public_key():
        raise ValueError(
            "is not the key of `tls_certificate`. Take the one that the certificate was asked for "
            "with"
        )
