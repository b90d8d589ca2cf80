"""The shared JupyterLab, deployed twice from the bare host."""

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.shared import Shared
from tests.support import KEEP, PROJECT, pyinfra

INVENTORY = PROJECT / "inventories/jupyterlab_login.py"
HOST = "lab.example.org"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    lab = Lab()
    lab.up(INVENTORY)
    try:
        shared = Shared(lab, HOST, HOST, tmp_path_factory.mktemp("shared"))
        first = pyinfra(INVENTORY, "deploys/all.py")
        assert first.status == 0, first.end
        before = shared.activations()
        second = pyinfra(INVENTORY, "deploys/all.py")
        assert (second.status, second.changed) == (0, []), second.end
        assert shared.activations() == before
        yield shared
    finally:
        if not KEEP:
            lab.down(INVENTORY)
