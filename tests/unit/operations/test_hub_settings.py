"""The Hub's settings, as the role writes them and as a later run finds them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hubstead import hub
from hubstead.operations.hub_settings import PublicUrl


@pytest.mark.parametrize("beside", [{}, {"allow": "all", "zeal": 1}])
def test_the_public_url_is_found_again(tmp_path: Path, beside: dict[str, object]) -> None:
    traits = {"JupyterHub": {"public_url": "https://hub.example.org/jupyter/", **beside}}
    file = tmp_path / "settings.json"
    file.write_text(hub.settings_json([hub.Configuration(traits)]))
    fact = PublicUrl()
    command = fact.command(str(file)).get_raw_value()
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert fact.process(printed.stdout.splitlines()) == "https://hub.example.org/jupyter/"


def test_there_is_none_without_a_file(tmp_path: Path) -> None:
    command = PublicUrl().command(str(tmp_path / "settings.json")).get_raw_value()
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert PublicUrl().process(printed.stdout.splitlines()) is None
