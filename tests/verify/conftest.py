"""The host to check: one that is named, or those that the tests deploy.

    pytest tests/verify/test_host.py tests/verify/test_jupyterhub.py \
        --hosts=ssh://hub.example.org --ssh-config=~/.ssh/config

checks a JupyterHub of yours; for a shared JupyterLab name test_jupyterlab.py instead. Both are
for a service on one host with its own authority. The login needs passwordless sudo. Nothing is
changed there.
"""

import pytest
import testinfra
from testinfra.host import Host


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> Host:
    """Takes the place of testinfra's own fixture, whose options it uses."""
    options = request.config.option
    if options.hosts:
        return testinfra.get_host(options.hosts, ssh_config=options.ssh_config, sudo=True)
    deployed = request.getfixturevalue(request.param)
    configuration = str(deployed.lab.directory / "ssh_config")
    return testinfra.get_host(f"ssh://{deployed.name}", ssh_config=configuration, sudo=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each module names the services that it is true of, by the fixtures that deploy them."""
    if "host" in metafunc.fixturenames:
        named = bool(metafunc.config.option.hosts)
        services = ["named"] if named else metafunc.module.SERVICES
        metafunc.parametrize("host", services, indirect=True, scope="module")


@pytest.fixture
def ssh_ports(host: Host) -> set[str]:
    """Where the host's own settings have sshd listen."""
    lines = host.check_output("/usr/sbin/sshd -T").splitlines()
    return {line.removeprefix("port ") for line in lines if line.startswith("port ")}
