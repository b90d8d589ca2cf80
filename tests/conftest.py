"""The deployed services, once for all the tests that use them, and what the tests took.

A state of lab hosts that several tests begin with is a snapshot. With HUBSTEAD_KEEP set the
snapshots stay after the tests, for the next ones.
"""

from collections.abc import Iterator

import pytest

from lab import Lab
from tests import timing
from tests.kit.service import INVENTORY, Deployed, Service, Story
from tests.kit.shared import Shared
from tests.kit.support import KEEP, PROJECT, down, pyinfra

SHARED_INVENTORY = PROJECT / "inventories/jupyterlab_login.py"
SHARED_HOST = "lab.example.org"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(timing.Table())


def pytest_sessionfinish() -> None:
    if not KEEP:
        Lab().forget_snapshots()


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    lab = Lab()
    yield Deployed(lab, lambda: tmp_path_factory.mktemp("service"))
    down(lab, INVENTORY)


@pytest.fixture(scope="module")
def service(deployed: Deployed) -> Service:
    return deployed.service()


@pytest.fixture(scope="module")
def story(service: Service, deployed: Deployed) -> Story:
    return deployed.story


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """The shared JupyterLab, deployed twice from the bare host."""
    lab = Lab()

    def deploy_twice() -> str:
        shared = Shared(lab, SHARED_HOST, SHARED_HOST, tmp_path_factory.mktemp("first"))
        first = pyinfra(SHARED_INVENTORY, "deploys/all.py")
        assert first.status == 0, first.end
        before = shared.activations()
        second = pyinfra(SHARED_INVENTORY, "deploys/all.py")
        assert (second.status, second.changed) == (0, []), second.end
        assert shared.activations() == before
        return ""

    lab.reach(SHARED_INVENTORY, "deployed twice", deploy_twice)
    yield Shared(lab, SHARED_HOST, SHARED_HOST, tmp_path_factory.mktemp("shared"))
    down(lab, SHARED_INVENTORY)
