"""The deployed services, once for all the tests that use them.

With HUBSTEAD_KEEP set they stay up after the tests, and the next tests use the first as it is.
"""

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.service import INVENTORY, NAME, SECRETS, Service, Story
from tests.shared import Shared
from tests.support import KEEP, PROJECT, pyinfra

STORY = PROJECT / ".build/service-story.json"
SHARED_INVENTORY = PROJECT / "inventories/jupyterlab_login.py"
SHARED_HOST = "lab.example.org"


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Story]]:
    lab = Lab()
    lab.up(INVENTORY)
    try:
        service = Service(lab, tmp_path_factory.mktemp("service"))
        if KEEP and STORY.exists() and not service.is_bare():
            story = Story.from_json(STORY.read_text())
        else:
            if not service.is_bare():
                lab.reset(NAME)
            story = service.story()
            if KEEP:
                STORY.write_text(story.as_json())
        yield service, story
    finally:
        if not KEEP:
            lab.down(INVENTORY)
            SECRETS.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def service(deployed: tuple[Service, Story]) -> Service:
    return deployed[0]


@pytest.fixture(scope="session")
def story(deployed: tuple[Service, Story]) -> Story:
    return deployed[1]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """The shared JupyterLab, deployed twice from the bare host."""
    lab = Lab()
    lab.up(SHARED_INVENTORY)
    try:
        shared = Shared(lab, SHARED_HOST, SHARED_HOST, tmp_path_factory.mktemp("shared"))
        first = pyinfra(SHARED_INVENTORY, "deploys/all.py")
        assert first.status == 0, first.end
        before = shared.activations()
        second = pyinfra(SHARED_INVENTORY, "deploys/all.py")
        assert (second.status, second.changed) == (0, []), second.end
        assert shared.activations() == before
        yield shared
    finally:
        if not KEEP:
            lab.down(SHARED_INVENTORY)
