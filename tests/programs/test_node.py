"""node, npm and npx on the path: the release's, with the host's certificates and registry."""

from __future__ import annotations

import pytest

from tests.programs.conftest import Machine

SHOW = '#!/bin/sh\necho npm $NODE_EXTRA_CA_CERTS registry=${NPM_CONFIG_REGISTRY-} "$@"\nnode\n'
RELEASE = "/opt/hubstead/node/current/bin"
REGISTRY = "/etc/hubstead/npm-registry"


@pytest.fixture
def npm(machine: Machine) -> Machine:
    """A machine with an npm that shows what it is given, and runs node from its path."""
    for name in ("node", "npm"):
        machine.install(f"/usr/local/bin/{name}", "node.sh")
    machine.write(f"{RELEASE}/npm", SHOW, "755")
    machine.write(f"{RELEASE}/node", "#!/bin/sh\necho node of the release\n", "755")
    return machine


def test_the_release_is_run_with_the_hosts_certificates(npm: Machine) -> None:
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    assert npm.says("npm install 'a b'") == (
        f"npm {certificates} registry= install a b\nnode of the release"
    )
    assert npm.says("NODE_EXTRA_CA_CERTS=/mine.pem npm").startswith("npm /mine.pem ")


def test_the_registry_of_the_settings_is_asked_unless_another_is_named(npm: Machine) -> None:
    npm.write(REGISTRY, "https://npm.example.org/\n")
    assert "registry=https://npm.example.org/ ci\n" in npm.says("npm ci")
    assert "registry=https://other/ ci\n" in npm.says("NPM_CONFIG_REGISTRY=https://other/ npm ci")


def test_a_link_by_another_name_runs_what_it_leads_to(npm: Machine) -> None:
    npm.run("ln -s /usr/local/bin/node /usr/local/bin/nodejs")
    assert npm.says("nodejs") == "node of the release"
