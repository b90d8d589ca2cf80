"""A bare host of an owner's, for the modules that make of it by themselves what they need."""

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.kit.service import Service
from tests.kit.support import PROJECT, down

INVENTORY = PROJECT / "tests/inventories/owner.py"
NAME = "own.example.org"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = Lab()
    lab.up(INVENTORY)
    yield Service(lab, tmp_path_factory.mktemp("owner"), INVENTORY, NAME)
    down(lab, INVENTORY)
