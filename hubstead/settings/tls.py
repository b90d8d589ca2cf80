"""Settings of certificates."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hubstead import pem
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.model import Others, Settings
from hubstead.texts import URL_CHARACTERS, is_email, is_url

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


class TlsSettings(Settings):
    """Certificates."""

    prefixes = ("tls_",)
    everywhere = ("tls",)
    removed: ClassVar[dict[str, str]] = {
        "tls_acme_lifetime": "certbot sees for itself how long a certificate is valid"
    }

    tls: Literal["internal", "acme", "files"] = Field(
        "internal",
        description="Where the certificate comes from. internal: an authority of its own, made "
        "once on the host that faces the internet, whose root certificate people have to trust; "
        "acme: Let's Encrypt, or another ACME server; files: you bring it.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="PEM file on the control machine, for files: the certificate, and after it "
        "those that signed it.",
    )
    tls_key: Path | None = Field(None, description="PEM file there with its key, not encrypted.")
    tls_acme_directory: str | None = Field(
        None, description="URL of an ACME server's directory; by default Let's Encrypt's."
    )
    tls_acme_staging: bool = Field(
        False,
        description="Ask Let's Encrypt's staging server, whose certificates nobody trusts, and "
        "whose rate limits are generous: to try things out.",
    )
    tls_acme_email: str | None = Field(
        None,
        description="Address that is given to the ACME server, for its warnings.",
    )
    tls_acme_key_type: Literal["ec256", "ec384", "rsa2048", "rsa4096"] = Field(
        "ec256", description="Kind of the key: an elliptic curve, or RSA."
    )
    tls_expiry_days: int = Field(
        14,
        ge=1,
        description="Days before the end of a certificate at which the alarm begins. Renewal comes "
        "long before: something is wrong with it.",
    )

    @field_validator("tls_acme_directory")
    @classmethod
    def _directory(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if not is_url(value, "https") or "@" in urlsplit(value).netloc:
            raise ValueError(
                f"not the URL of a directory, such as {LETS_ENCRYPT}, {URL_CHARACTERS}"
            )
        return value

    @field_validator("tls_acme_email")
    @classmethod
    def _email(cls, value: str | None) -> str | None:
        if value is not None and not is_email(value):
            raise ValueError("not an address such as ada@example.org")
        return value

    @property
    def directory_url(self) -> str:
        """The directory of the ACME server (RFC 8555, 7.1.1)."""
        return self.tls_acme_directory or (STAGING if self.tls_acme_staging else LETS_ENCRYPT)

    def check(self) -> None:
        if self.tls_acme_staging and self.tls_acme_directory:
            raise ValueError(
                "`tls_acme_staging` is Let's Encrypt's, and `tls_acme_directory` names a server: "
                "remove one of them"
            )
        if self.tls == "files":
            self.chain()

    def check_beside(self, others: Others) -> None:
        if self.tls != "internal" and not others[EdgeSettings].edge_site:
            raise ValueError(
                f"`tls` = {self.tls!r} is for a site of ours, and with `edge_site` = False the "
                "site and its certificate are yours: remove `tls`"
            )

    def chain(self) -> pem.Chain:
        """The certificate of `tls` = files. Raises ValueError for one that will not do."""
        texts = {}
        for key in ("tls_certificate", "tls_key"):
            path: Path | None = getattr(self, key)
            if path is None:
                raise ValueError(f"`tls` = 'files' needs `{key}`, the path of a PEM file here")
            try:
                texts[key] = path.read_bytes()
            except OSError as error:
                raise ValueError(f"`{key}` = {path}: cannot be read: {error.strerror}") from None
        try:
            chain = pem.chain(texts["tls_certificate"])
            pem.check_dates(chain)
        except ValueError as error:
            raise ValueError(f"`tls_certificate` = {self.tls_certificate}: {error}") from None
        try:
            pem.check_key(texts["tls_key"], chain)
        except ValueError as error:
            raise ValueError(f"`tls_key` = {self.tls_key}: {error}") from None
        return chain
