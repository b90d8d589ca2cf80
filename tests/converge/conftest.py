"""The lab hosts of a test module: those that its INVENTORY names, up for as long as it runs."""

from collections.abc import Iterator

import pytest

from lab import Lab
from lab.acme import Pebble
from tests.kit.support import down


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab()
    lab.up(request.module.INVENTORY)
    yield lab
    down(lab, request.module.INVENTORY)


@pytest.fixture(scope="module")
def acme(lab: Lab) -> Pebble:
    """The ACME server that the lab plays for an INVENTORY with `tls` = "acme"."""
    return Pebble(lab)
