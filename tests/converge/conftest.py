"""The lab hosts of a test module: those that its INVENTORY names, up for as long as it runs."""

from collections.abc import Iterator

import pytest

from lab import Lab


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab()
    lab.up(request.module.INVENTORY)
    yield lab
    lab.down(request.module.INVENTORY)
