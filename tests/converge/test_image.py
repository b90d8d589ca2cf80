"""The image of the users' servers gets Debian's updates, and people get it at their next start."""

from __future__ import annotations

import pytest

from tests.kit.service import Service, container

pytestmark = [pytest.mark.slow, pytest.mark.every]

UNIT = "hubstead-users-image.service"
NAME = "$(cat /opt/hubstead/singleuser/image)"
# As a build of some weeks ago has left it: with a version that Debian has replaced.
OUTDATE = rf"""
image={NAME}
docker build --quiet --tag "$image" - <<END
FROM $image
USER root
RUN sed -i '/^Package: nano$/,/^$/s/^Version: .*/Version: 5.0-1/' /var/lib/dpkg/status
USER jovyan
END
"""


def identity(service: Service) -> str:
    """Which image a server gets that starts now."""
    return service.sudo(f"docker image inspect --format '{{{{.Id}}}}' {NAME}").strip()


def images(service: Service) -> set[str]:
    return set(service.sudo("docker image ls --quiet --no-trunc").split())


def cache(service: Service) -> str:
    template = "{{range .BuildCache}}{{println .ID}}{{end}}"
    return service.sudo(f"docker system df --verbose --format '{template}' | sort")


def version(service: Service, username: str) -> str:
    """The version of a package that someone's server has."""
    service.person(username)
    query = "dpkg-query --show --showformat '${Version}' nano"
    return service.sudo(f"docker exec {container(username)} {query}")


def refresh(service: Service) -> str:
    """What the timer's unit writes into the journal."""
    script = f"""
        invocation() {{ systemctl show --value --property InvocationID {UNIT}; }}
        systemctl start {UNIT} && journalctl --output cat _SYSTEMD_INVOCATION_ID="$(invocation)"
    """
    return service.sudo(script)


def test_debians_updates_reach_people_at_their_next_start(service: Service) -> None:
    fresh = version(service, "ida")
    service.person("ida").stop_server()
    original = identity(service)
    service.sudo(OUTDATE)
    outdated = identity(service)
    before = cache(service)
    assert version(service, "bob") == "5.0-1"
    with service.person("bob").kernel() as kernel:
        kernel.run("x = 42")
        assert f"nano 5.0-1 to {fresh}" in refresh(service)
        # nobody's server is touched, and its image stays
        assert kernel.run("print(x)") == "42\n"
    built = identity(service)
    assert built not in (outdated, original)
    assert outdated in images(service)
    assert version(service, "bob") == "5.0-1"
    service.person("bob").stop_server()
    assert version(service, "bob") == fresh
    with service.person("bob").kernel() as kernel:
        assert kernel.run("print(6*7)") == "42\n"
    # what the build left in the cache would keep the files of an image that is gone
    assert cache(service) == before

    assert "no updates" in refresh(service)
    assert identity(service) == built
    assert outdated not in images(service)
    assert service.run("deploys/docker.py").changed == []
    # only this test made something of the original; Docker 20.10 has removed it with what it made
    service.sudo(f"docker builder prune --force --all; docker image rm {original} || true")
