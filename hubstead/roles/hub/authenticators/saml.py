"""Login by an identity provider of SAML 2.0: Shibboleth, ADFS, Entra ID, Keycloak, Okta."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from pydantic import Field, field_validator
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError

from hubstead import hub, oauth, parts, rules, secrets
from hubstead.notes import ROLES, claim
from hubstead.operations import checks, files, packages, providers
from hubstead.operations.checks import CURL
from hubstead.parts import Authenticator
from hubstead.progress import summarise
from hubstead.settings.accounts import check_provider
from hubstead.settings.base import BaseSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.model import Others, Settings
from hubstead.site import Site
from hubstead.texts import is_url

_READER = "saml_metadata.py"
_KEY, _CERTIFICATE = "saml-key", "saml-certificate"


class SamlSettings(Settings):
    """Login by SAML 2.0; the Hub's key is the secret `hub_saml_key`, made at first use."""

    prefixes = ("hub_saml_",)

    hub_saml_metadata: str | None = Field(
        None,
        description="What the provider says of itself: an address that begins with https://, which "
        "is asked in each run, or a file on the control machine. The provider's keys are those in "
        "it, and no others.",
    )
    hub_saml_name: str = Field(
        "your organisation's account", description="What the button says after: Sign in with."
    )
    hub_saml_username_attribute: str | None = Field(
        None,
        description="What is somebody's name here, such as uid, by its name or its OID's. Without "
        "it that is the NameID, which many providers make anew for each login.",
    )
    hub_saml_groups_attribute: str = Field(
        "groups",
        min_length=1,
        description="What lists somebody's groups, for `hub_allowed_groups`: isMemberOf, "
        "http://schemas.xmlsoap.org/claims/Group.",
    )
    hub_saml_session_hours: int = Field(
        12,
        ge=1,
        le=720,
        description="Hours for which a login counts, unless the provider says less: the provider "
        "cannot be asked again in between (docs/accounts.md).",
    )

    @field_validator("hub_saml_metadata")
    @classmethod
    def _address_or_file(cls, value: str | None) -> str | None:
        if value is not None and (not value or "://" in value) and not is_url(value, "https"):
            raise ValueError(
                "neither an address such as https://login.example.org/metadata nor a file"
            )
        return value

    @field_validator("hub_saml_username_attribute", "hub_saml_groups_attribute")
    @classmethod
    def _attribute(cls, value: str | None) -> str | None:
        if value is not None and not (value.isprintable() and value.strip() == value != ""):
            raise ValueError("not the name of an attribute, such as uid")
        return value

    def check_beside(self, others: Others) -> None:
        check_provider(others, "saml", {"hub_saml_metadata": self.hub_saml_metadata})


def _url(site: Site) -> str:
    """Of what the provider has to know."""
    return f"{oauth.home(site)}hub/saml/metadata"


def _provider(site: Site) -> dict[str, Any]:
    source = site[SamlSettings].hub_saml_metadata
    assert source
    if source.startswith("https://"):
        authorities = site[BaseSettings].base_ca_certificates
        return providers.told("hub_saml_metadata", source, authorities, _READER)
    return providers.told_by_file("hub_saml_metadata", Path(source), _READER)


@deploy("saml")
def saml(site: Site) -> None:
    claim(site, "saml")
    packages.installed(name="Install what checks signatures", packages=["xmlsec1"], owner="saml")
    summarise(f"The identity provider has to know: {_url(site)}")


@deploy("saml")
def absent(site: Site) -> None:
    packages.purged(name="Remove what checked signatures", owner="saml")
    files.present(name="Note down that it is gone", entries={f"{ROLES}/saml": None})


def _configuration(site: Site) -> hub.Configuration:
    settings, provider = site[SamlSettings], _provider(site)
    return hub.Configuration(
        traits={
            # what the provider said is kept in the database, encrypted
            "CryptKeeper": {"keys": [hub.credential("crypt-key")]},
            "Saml": {
                "entity_id": provider["entity_id"],
                "sign_in_url": provider["login_url"],
                "sign_out_url": provider["logout_url"],
                "certificates": provider["certificates"],
                "signed_requests": provider["signed_requests"],
                "service_url": f"{oauth.home(site)}hub",
                "key_file": hub.credential_file(_KEY),
                "certificate_file": hub.credential_file(_CERTIFICATE),
                "login_service": settings.hub_saml_name,
                "username_attribute": settings.hub_saml_username_attribute or "",
                "groups_attribute": settings.hub_saml_groups_attribute,
                "session_seconds": settings.hub_saml_session_hours * 3600,
                "manage_groups": rules.asks_for_groups(site, "saml"),
                "servers_network": parts.servers_network(site),
            },
        }
    )


def _new_key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def certificate(key: str, name: str) -> str:
    """What a key is shown in: by itself for decades, and the same each time it is made (RFC 8017,
    8.2: no chance in it), as a provider compares it and asks nobody about it.

    Raises PyinfraError for a key that is none.
    """
    try:
        loaded = serialization.load_pem_private_key(key.encode(), None)
    except (TypeError, ValueError):
        loaded = None
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise PyinfraError(
            f"The secret `hub_saml_key` is not what it must be: {secrets.KEY.words}."
        )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(loaded.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 12, 31, tzinfo=UTC))
        .sign(loaded, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _credentials(site: Site) -> dict[str, str]:
    key = site.secrets.generated("hub_saml_key", secrets.KEY, _new_key)
    return {
        _KEY: key,
        _CERTIFICATE: certificate(key, urlsplit(site.url).hostname or ""),
        "crypt-key": site.secrets.generated("hub_crypt_key", secrets.HEX),
    }


def _check(site: Site) -> checks.Check:
    url = f"{parts.hub_url(site)}{site[HubSettings].hub_base_url}hub/saml/metadata"
    return checks.Check(
        name="Ask the Hub for what its provider has to know",
        part="The login by SAML",
        script=f"{CURL} {url} | grep -qF 'entityID=\"{_url(site)}\"'",
        mend="journalctl -u jupyterhub",
        tries=5,
        of="accounts",
    )


PART = Authenticator(
    authenticator_class="hubstead_hub.saml.Saml",
    configuration=_configuration,
    credentials=_credentials,
    lock="saml",
    page=oauth.PAGE,
    deploy=saml,
    absent=absent,
    checks=lambda site: (_check(site),),
)
