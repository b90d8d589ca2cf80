"""An owner tidies up with Docker's own commands: nothing of people's goes, nothing stays broken."""

import time

import pytest

from tests.converge.test_resilience import check_isolated, rules
from tests.kit.service import PASSWORD, Service, container
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

HOLDER = "hubstead-holder"
IMAGE = "$(cat /opt/hubstead/singleuser/image)"
#: Without `--all` in Docker 20.10, which takes volumes with a name as well
PRUNE_VOLUMES = "docker volume prune --all --force || docker volume prune --force"


def runs(service: Service, unit: str) -> str:
    return service.sudo(f"systemctl show -P ExecMainStartTimestamp {unit}")


def is_held(service: Service) -> bool:
    return service.sudo(f"docker top {HOLDER} 2>/dev/null || true") != ""


def health(service: Service) -> str:
    asked = "curl -so /dev/null -m 2 -w '%{http_code}' http://172.30.0.1:8081/hub/health || true"
    return service.sudo(asked)


def test_clean_ups_while_no_server_runs_take_nothing_that_is_ours(service: Service) -> None:
    alice = service.person("alice")
    alice.notebook("kept.ipynb", "print('kept')")
    service.stop_servers()
    before, hub = rules(service), runs(service, "jupyterhub")
    # what they are for goes
    service.sudo(
        f"docker create --name theirs -v theirs:/x {IMAGE} && docker network create theirs"
    )
    service.sudo(
        "docker system prune --all --force --volumes; docker network prune --force;"
        f" docker image prune --all --force; {PRUNE_VOLUMES}"
    )
    assert service.sudo("docker ps --all --quiet --filter name=theirs") == ""
    assert service.sudo("docker network ls --quiet --filter name=theirs") == ""
    assert health(service) == "200"
    assert (rules(service), runs(service, "jupyterhub")) == (before, hub)
    service.check_works()
    assert alice.cells("kept.ipynb") == ["print('kept')"]
    with alice.kernel() as kernel:
        check_isolated(kernel)
    run = service.run()
    assert (run.status, run.changed) == (0, []), run.end


def test_the_hubs_address_comes_back_after_everything_was_removed(service: Service) -> None:
    service.stop_servers()
    before = rules(service)
    service.sudo(f"systemctl stop {HOLDER}; docker network prune --force")
    assert health(service) != "200"
    service.sudo(f"systemctl start {HOLDER}")
    eventually("the holder runs", lambda: is_held(service))
    service.sudo("docker rm --force $(docker ps --all --quiet); docker network prune --force")
    eventually("the Hub answers", lambda: health(service) == "200", 30)
    eventually("the holder runs", lambda: is_held(service))
    assert rules(service) == before
    service.check_works()
    with service.person("alice").kernel() as kernel:
        check_isolated(kernel)


def test_the_holder_follows_docker(service: Service) -> None:
    process = f"systemctl show -P MainPID {HOLDER}"
    former = service.sudo(process)
    service.sudo("systemctl kill --signal=KILL docker")
    # none while it makes ready, in which a stop leaves it failed
    eventually(
        "the holder is another",
        lambda: service.sudo(process) not in (former, "0\n") and is_held(service),
    )
    service.sudo("systemctl stop docker.socket docker")
    assert service.sudo(f"systemctl is-active {HOLDER} docker || true") == "inactive\ninactive\n"
    service.sudo("systemctl start docker")
    eventually("the holder runs", lambda: is_held(service))
    eventually("the Hub answers", lambda: health(service) == "200")


def check_a_start_is_offered(service: Service) -> None:
    """At once to whoever comes first after somebody's container was removed."""
    alice, browser = service.person("alice"), service.visitor("alice")
    browser.log_in(PASSWORD)
    alice.notebook("kept.ipynb", "print('kept')")
    assert browser.land("user/alice/lab").status_code == 200
    service.sudo(f"docker rm --force {container('alice')}")
    began = time.monotonic()
    page = browser.land("user/alice/lab?reset")
    took = time.monotonic() - began
    assert page.status_code == 424 and 'id="start"' in page.text, page.text
    assert took < 15, f"{took:.1f} s"
    assert service.person("alice").cells("kept.ipynb") == ["print('kept')"]
    # a program reads the same in JSON
    service.sudo(f"docker rm --force {container('alice')}")
    answer = alice.request("GET", "/user/alice/api/status")
    if answer.status_code == 302:  # the Hub has noticed by now
        assert "/hub/" in answer.headers["Location"]
    else:
        assert answer.status_code in (502, 503, 504, 424) and answer.json()["message"], answer.text


def test_a_container_that_is_removed_leads_to_a_start(service: Service) -> None:
    check_a_start_is_offered(service)


@pytest.mark.every
def test_an_image_that_is_gone_is_named_and_built_again(service: Service) -> None:
    service.stop_servers()
    alice = service.visitor("alice")
    service.sudo(f"systemctl stop {HOLDER}; docker image rm --force {IMAGE}")
    alice.log_in(PASSWORD)
    page = alice.request("GET", "/hub/spawn", follow_redirects=True)
    assert "Unhandled" not in page.text, page.text
    assert HOLDER in page.text, page.text
    service.sudo(f"systemctl start {HOLDER}")
    eventually("it is built", lambda: is_held(service), 600)
    service.check_works()
