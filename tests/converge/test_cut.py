"""A deploy that is cut anywhere is finished by the next one, and nothing of a person's is lost.

On Debian 12, with its own Python, PostgreSQL and Docker, where a person works first.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab import Lab
from tests.kit.service import Service
from tests.kit.support import PROJECT, cut, down, pyinfra

pytestmark = pytest.mark.slow

INVENTORY = PROJECT / "tests/inventories/cut.py"
HOST = "cut.example.org"
#: When runs are cut. Each goes on from where the last one was cut, so they reach all of it.
MOMENTS = random.Random()
#: Of the cuts at random: give it again to see the same ones
SEED = int(os.environ.get("HUBSTEAD_SEED") or MOMENTS.randrange(2**32))
#: 50 cuts, 5 to a host
ROUNDS, CUTS = range(10), 5


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from differences(one.get(key), other.get(key), f"{path} {key}")
    elif isinstance(one, list) and path.split()[0] != "files":
        yield from (f"{path} -{line}" for line in one if line not in other)
        yield from (f"{path} +{line}" for line in other if line not in one)
    elif one != other:
        yield f"{path}: {one!r} and {other!r}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = Lab()
    yield Service(lab, tmp_path_factory.mktemp("cut"), INVENTORY, HOST)
    down(lab, INVENTORY)


@pytest.fixture(scope="module")
def story(service: Service) -> dict[str, Any]:
    """Two deploys to the host that nobody cuts: the seconds that each took, and the end state."""

    def deploy_twice() -> str:
        began = time.monotonic()
        first = service.run()
        done = time.monotonic()
        second = service.run()
        seconds = done - began, time.monotonic() - done
        assert first.status == 0, first.end
        assert second.operations > 50
        assert (second.status, second.changed) == (0, []), second.end
        return json.dumps({"seconds": seconds, "manifest": service.manifest()})

    return dict(json.loads(service.lab.reach(INVENTORY, "deployed twice", deploy_twice)))


@pytest.fixture(scope="module")
def uncut(story: dict[str, Any]) -> dict[str, Any]:
    return dict(story["manifest"])


def test_a_person_works_before_and_after_a_reboot(service: Service, uncut: dict[str, Any]) -> None:
    service.check_works()
    service.lab.reboot(HOST)
    service.check_works()
    assert service.run().changed == []


def test_cut_deploys_end_in_the_state_of_an_uncut_one(
    service: Service, uncut: dict[str, Any]
) -> None:
    service.lab.reset(HOST)
    for number in range(6):
        moment = MOMENTS.uniform(2, 22)
        print(f"cut {number + 1} after {moment:.1f} s")
        cut(moment, INVENTORY)
        if number == 3:
            service.lab.cut(HOST)
    finished = service.run()
    assert finished.status == 0, finished.output
    assert list(differences(uncut, service.manifest())) == []
    assert service.run().changed == []


def test_cut_changes_lose_nothing_of_a_person(service: Service) -> None:
    lab = service.lab
    # as an earlier version kept files: the cut runs move it
    volume, files = "hubstead-user-carol", "/srv/hubstead/files/carol"
    data = f"/var/lib/docker/volumes/{volume}/_data"
    lab.run(HOST, "sudo hub-users add carol --password-stdin", input="a long enough password\n")
    lab.run(HOST, f"sudo docker volume create {volume} && echo kept | sudo tee {data}/work.ipynb")
    rows = "sudo runuser -u postgres -- psql -AtX -d userdb -c 'TABLE users ORDER BY id'"
    before = lab.run(HOST, rows).stdout

    change = (
        "--data", "hub_memory_limit=1G", "--data", "postgres_max_connections=90",
        "--data", "docker_image_packages=[\"file\"]", "--data", "edge_https_port=8443",
    )  # fmt: skip
    for number in range(4):
        moment = MOMENTS.uniform(1, 12)
        print(f"cut {number + 1} after {moment:.1f} s")
        cut(moment, INVENTORY, *change)
        if number == 1:
            lab.cut(HOST)
    finished = pyinfra(INVENTORY, "deploys/all.py", *change)
    assert finished.status == 0, finished.output
    assert pyinfra(INVENTORY, "deploys/all.py", *change).changed == []
    assert lab.run(HOST, rows).stdout == before
    assert lab.run(HOST, f"sudo cat {files}/work.ipynb").stdout == "kept\n"


@pytest.mark.every
@pytest.mark.parametrize("number", ROUNDS)
def test_cuts_at_random_end_in_the_state_of_an_uncut_deploy(
    service: Service, story: dict[str, Any], number: int
) -> None:
    """Moments are drawn over the whole length of a deploy, and each run goes on from where the last
    was cut: it lives as long as it needs to see what is done, and from one moment to the next. Half
    of the cuts take the host's power as well; else what was at work on it goes on.
    """
    lab, (deploying, looking) = service.lab, story["seconds"]
    drawn = random.Random(f"{SEED} {number}")
    service.forget()
    lab.reset(HOST)
    last, cuts = 0.0, []
    for moment in sorted(drawn.random() for _ in range(CUTS)):
        seconds = looking * last + deploying * (moment - last)
        power = drawn.random() < 0.5
        was_cut = cut(
            seconds,
            INVENTORY,
            power=(lambda: lab.cut(HOST, stay_down=True)) if power else bool,
        )
        cuts.append(
            f"{moment:.3f}{' power' if power else ''}{'' if was_cut else ' (after its end)'}"
        )
        lab.start(HOST)
        last = moment
    print(f"HUBSTEAD_SEED={SEED}, host {number}: cut at {', '.join(cuts)} of {deploying:.0f} s")
    finished = service.run()
    assert finished.status == 0, finished.output
    assert list(differences(story["manifest"], service.manifest())) == []
    assert service.run().changed == []
