"""Settings of where secrets are kept."""

from __future__ import annotations

from pathlib import Path

import pyrage
from pydantic import Field, field_validator

from hubstead.settings.model import Settings


class SecretsSettings(Settings):
    """Where the secrets of an inventory are kept."""

    prefixes = ("secrets_",)
    everywhere = ("secrets_",)

    secrets_age_file: Path | None = Field(
        None, description="An age-encrypted file that holds the secrets, for keeping them in git."
    )
    secrets_age_recipients: list[str] = Field(
        [],
        description="Public age keys (age1...) of everyone who may open `secrets_age_file`, your "
        "own included; at first yours alone. When they change, the file is written anew.",
    )

    @field_validator("secrets_age_recipients")
    @classmethod
    def _public_keys(cls, value: list[str]) -> list[str]:
        for key in value:
            try:
                pyrage.x25519.Recipient.from_str(key)
            except pyrage.RecipientError:
                raise ValueError(f"{key!r} is no public age key, which begins with age1") from None
        return value

    def check(self) -> None:
        if self.secrets_age_recipients and not self.secrets_age_file:
            raise ValueError("`secrets_age_recipients` without `secrets_age_file` has no use")
