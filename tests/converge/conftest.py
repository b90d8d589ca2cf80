"""The lab hosts of a test module: those that its INVENTORY names, up for as long as it runs."""

from collections.abc import Iterator

import pytest

from lab import Lab
from lab.acme import Pebble
from tests.support import PROJECT, down

HELPER = PROJECT / "tests/inventories/acme_helper.py"


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab()
    lab.up(request.module.INVENTORY)
    yield lab
    down(lab, request.module.INVENTORY)


@pytest.fixture(scope="module")
def acme() -> Iterator[Pebble]:
    """The lab's ACME server. What is deployed after this is up trusts its API."""
    lab = Lab()
    lab.up(HELPER)
    yield Pebble(lab, "acme.example.net")
    down(lab, HELPER)
