"""The Hub as a part of another application's pages: the settings, and what the Hub is told."""

from __future__ import annotations

import pytest

from hubstead.settings.embedding import EmbeddingSettings
from hubstead.settings.model import check
from tests.unit.plans import TRUST


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example.org",
        "https://app.example.org/course",
        "https://*.example.org",
        "*",
        "https://",
        "app.example.org",
        "https://ada@app.example.org",
        "https://app.example.org; script-src *",
        "https://app.example.org?x",
        "https://app.example.org:0",
    ],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    (mistake,) = check(TRUST | {"hub_frame_origins": [origin]})
    assert "`hub_frame_origins`" in mistake


def test_origins_are_as_browsers_write_them() -> None:
    written = ["https://App.example.org/", "https://b.example:443", "https://c.example:8443"]
    settings = EmbeddingSettings(hub_frame_origins=written)
    assert settings.hub_frame_origins == [
        "https://app.example.org",
        "https://b.example",
        "https://c.example:8443",
    ]
