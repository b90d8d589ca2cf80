"""Settings of a Hub that is a part of another application."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hubstead.settings.model import Settings
from hubstead.texts import is_host_name, is_url


class EmbeddingSettings(Settings):
    """The Hub as a part of another application's pages (docs/embedding.md)."""

    prefixes = ("hub_",)

    hub_frame_origins: list[str] = Field(
        [],
        description="Origins whose pages may show the Hub and servers in a frame, and whose scripts"
        " may call them with a token, such as https://app.example.org. Nobody else's may.",
    )
    hub_token_in_url: bool = Field(
        False,
        description="Whether a server takes a token from its URL (?token=…), as a frame needs it "
        "whose page can send no header. A token there is in logs and histories: give it minutes.",
    )

    @field_validator("hub_frame_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if "*" in origin:
                raise ValueError(
                    f"{origin!r}: a * would let in whoever gets a name there; write each origin"
                )
            if not _is_origin(origin):
                raise ValueError(
                    f"{origin!r} is not an origin such as https://app.example.org or "
                    "https://app.example.org:8443: https, a host, and no path (RFC 6454, 7)"
                )
        # as browsers write it (RFC 6454, 6.2)
        return [origin.lower().rstrip("/").removesuffix(":443") for origin in value]


def _is_origin(text: str) -> bool:
    if not is_url(text, "https"):
        return False
    url = urlsplit(text.lower())
    port = f":{url.port}" if url.port else ""
    return is_host_name(
        url.hostname or ""
    ) and f"https://{url.hostname}{port}" == text.lower().rstrip("/")
