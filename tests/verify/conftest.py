"""The host to check: one that is named, or the one that the tests deploy.

    pytest tests/verify --hosts=ssh://hub.example.org --ssh-config=~/.ssh/config

checks a service of yours; the login needs passwordless sudo. Nothing is changed there.
"""

import pytest
import testinfra
from testinfra.host import Host

from tests.service import NAME


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    """Takes the place of testinfra's own fixture, whose options it uses."""
    options = request.config.option
    if options.hosts:
        name, configuration = options.hosts, options.ssh_config
    else:
        lab = request.getfixturevalue("service").lab
        name, configuration = f"ssh://{NAME}", str(lab.directory / "ssh_config")
    return testinfra.get_host(name, ssh_config=configuration, sudo=True)
