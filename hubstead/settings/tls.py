"""Settings of certificates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hubstead import dns, pem
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
    tls_acme_dns: dns.Service | None = Field(
        None,
        description="Where the DNS records of the names are, to answer the ACME server there and "
        "not over HTTP: for a host that the internet does not reach. The service's secrets are "
        "yours to bring (docs/tls.md).",
    )
    tls_acme_dns_options: dict[str, str] = Field(
        {},
        description="What the service needs beside its secrets; rfc2136: `server` (an address), "
        "`name` (of the TSIG key), and perhaps `port` and `algorithm`; ovh: `endpoint`.",
    )
    tls_acme_dns_wait: int | None = Field(
        None,
        ge=0,
        description="Seconds until the service's name servers have a new record; by default as "
        "certbot has it: 10 to 120.",
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

    @field_validator("tls_acme_dns_options")
    @classmethod
    def _one_word_each(cls, value: dict[str, str]) -> dict[str, str]:
        for key, word in value.items():
            if not re.fullmatch(r"[\w.:-]+", word, re.ASCII):
                raise ValueError(f"{key}: {word!r} is not one word of letters, digits, . : _ and -")
        return value

    @property
    def answers_over_http(self) -> bool:
        """Whether an ACME server asks the front (HTTP-01, RFC 8555, 8.3)."""
        return self.tls == "acme" and self.tls_acme_dns is None

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
        self._check_dns()

    def _check_dns(self) -> None:
        if self.tls_acme_dns is None:
            if self.tls_acme_dns_options:
                raise ValueError("`tls_acme_dns_options` without `tls_acme_dns` has no use")
            return
        if self.tls != "acme":
            raise ValueError(f"`tls_acme_dns` is for `tls` = 'acme', and `tls` = {self.tls!r}")
        plugin, given = dns.PLUGINS[self.tls_acme_dns], set(self.tls_acme_dns_options)
        if secrets := given & set(plugin.secrets):
            names = ", ".join(sorted(secrets))
            raise ValueError(
                f"`tls_acme_dns_options` has {names}, which is a secret and does not belong among "
                "settings: docs/tls.md says where it goes. Take it for known, and have another."
            )
        if missing := set(plugin.required) - given:
            raise ValueError(f"`tls_acme_dns_options` lacks {', '.join(sorted(missing))}")
        if unknown := given - {*plugin.required, *plugin.optional}:
            known = ", ".join((*plugin.required, *plugin.optional)) or "none"
            raise ValueError(
                f"`tls_acme_dns_options`: {self.tls_acme_dns} does not know "
                f"{', '.join(sorted(unknown))}; allowed: {known}"
            )

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
