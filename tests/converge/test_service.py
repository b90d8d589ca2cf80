"""The deploy from a bare host to the service, and what further runs do to it: nothing."""

import pytest

from tests.kit.listening import declared, listening
from tests.kit.service import NAME, Service, Story
from tests.kit.support import PROJECT

pytestmark = pytest.mark.slow

SCRIPTS = sorted(
    f"deploys/{path.name}"
    for path in (PROJECT / "deploys").glob("*.py")
    if path.name not in ("doctor.py", "offboard.py", "remove.py")
)


def test_a_plan_for_a_bare_host_lists_the_work_and_touches_nothing(story: Story) -> None:
    assert story.plan.status == 0, story.plan.end
    assert set(story.first.changed) - set(story.plan.planned) == set()
    before, after = story.before_plan.splitlines(), story.after_plan.splitlines()
    assert set(before) ^ set(after) == set()


def test_the_first_deploy_makes_a_service_that_works(service: Service, story: Story) -> None:
    assert (story.first.status, story.first.failed) == (0, [])
    service.check_works()


def test_what_listens_is_on_the_list(service: Service) -> None:
    assert listening(service.lab, NAME) == declared({}, NAME, hub=NAME)


def test_the_summary_tells_how_to_go_on(story: Story) -> None:
    summary = story.first.output.rpartition("==> Done")[2]
    assert "https://service.example.org/" in summary
    assert "sudo hub-users initial-password admin" in summary
    assert "/etc/hubstead/tls/ca.pem" in summary


def test_the_second_deploy_changes_nothing(story: Story) -> None:
    assert (story.second.status, story.second.changed) == (0, []), story.second.end
    # of the Hub's database, which is right by then
    needless = 3
    assert story.second.operations == story.first.operations - needless
    assert story.units_after == story.units_before
    assert "jupyterhub.service" in story.units_before


def test_a_plan_for_the_deployed_host_is_empty(service: Service) -> None:
    plan = service.dry()
    assert (plan.status, plan.planned) == (0, [])


def test_the_firewall_is_a_table(service: Service) -> None:
    plan = service.run("--dry", "deploys/firewall.py")
    assert plan.status == 0
    shown = [" ".join(line.split()) for line in plan.output.splitlines()]
    assert "everyone tcp 443 traefik.service yes, 4096 at once from one address" in shown
    assert "servers on hubstead0 the internet no" in shown


def test_no_script_changes_anything(service: Service) -> None:
    """Each alone does just what it does in all.py (tests/unit/test_scripts.py)."""
    before = service.units()
    run = service.run(*SCRIPTS)
    assert (run.status, run.changed) == (0, []), run.end
    assert service.units() == before
