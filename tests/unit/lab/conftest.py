"""The parts of the lab that need no host."""

from pathlib import Path

import pytest

from lab import state


@pytest.fixture(autouse=True)
def _machine_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "STATE", tmp_path / "state")
    monkeypatch.setattr(state, "LOCK", tmp_path / "lock")
