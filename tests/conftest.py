"""The deployed service, once for all the tests that use it.

With HUBSTEAD_KEEP set it stays up after the tests, and the next tests use it as it is.
"""

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.service import INVENTORY, NAME, SECRETS, Service, Story
from tests.support import KEEP, PROJECT

STORY = PROJECT / ".build/service-story.json"


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
