"""What a provider of OpenID Connect says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hubstead.operations import providers


def address(issuer: str) -> str:
    """Where the document is (OpenID Connect Discovery 1.0, 4)."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def document(issuer: str, authorities: Iterable[Path]) -> dict[str, str]:
    """The provider's addresses, by their names in the document (hubstead.operations.providers)."""
    return providers.told("hub_oidc_issuer", issuer, authorities, "openid_document.py")
