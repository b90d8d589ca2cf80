"""Kernels: what the setting takes, and what the image is built from for each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from hubstead.operations import releases
from hubstead.operations.disks import DOCKER
from hubstead.programs import ROOT
from hubstead.settings.model import KERNELS, check
from tests.unit.plans import PROJECT, TRUST, Plan, disk

CONTEXT = "/opt/hubstead/singleuser.new"
ALL = [name for name in KERNELS.names if name != "python"]
LOCKS = PROJECT / "locks/singleuser"


def context(plan: Plan, *kernels: str) -> dict[str, str]:
    """The build context that a deploy writes, by the path in it."""
    run = plan("docker", data={"hub_kernels": [*kernels]})
    run.execute()
    return {
        path.removeprefix(f"{CONTEXT}/"): text
        for path, text in run.files.items()
        if path.startswith(f"{CONTEXT}/")
    }


def blocks(dockerfile: str) -> list[str]:
    return re.findall(r"^# (\w+) \(hub_kernels\)$", dockerfile, re.MULTILINE)


def test_there_are_seven() -> None:
    assert KERNELS.names == ["bash", "c", "cpp", "java", "octave", "python", "r"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"hub_kernels": ["python", "pearl"]}, r"`hub_kernels\[1\]` = .*'pearl'\]: .*'octave'"),
        ({"hub_kernels": "bash"}, "`hub_kernels` = 'bash': .*it is written as JSON"),
        ({"hub_kernels": ["r", "c", "r"]}, "`hub_kernels` = .*: 'r' is there twice"),
        (
            {"hub_kernels": ["python", "r"], "hub_spawner": "systemd"},
            "`hub_kernels` = .* of the image .* with 'systemd' there is 'python' alone",
        ),
    ],
)
def test_a_wrong_one_is_refused_in_words(data: dict[str, Any], words: str) -> None:
    (mistake,) = check(TRUST | data)
    assert re.search(words, mistake)


@pytest.mark.parametrize("kernels", [[], ["python"], ["bash"], [*ALL, "python"]])
def test_what_is_sound_passes(kernels: list[str]) -> None:
    assert check(TRUST | {"hub_kernels": kernels}) == []


def test_python_alone_adds_nothing(plan: Plan) -> None:
    plain = context(plan, "python")
    assert blocks(plain["Dockerfile"]) == []
    assert context(plan)["image"] == plain["image"]
    assert not [path for path in plain if path.startswith("kernels/")]


def test_each_is_a_block_of_the_image_in_the_order_of_the_setting(plan: Plan) -> None:
    first, second = context(plan, "r", "bash"), context(plan, "r", "bash", "c")
    assert blocks(first["Dockerfile"]) == ["r", "bash"]
    assert blocks(second["Dockerfile"]) == ["r", "bash", "c"]
    assert first["image"] != second["image"] != context(plan, "c", "r", "bash")["image"]
    # what the cache has of the first, the second one begins with
    common = first["Dockerfile"].partition("# not 1000")[0].rstrip()
    assert second["Dockerfile"].startswith(common)


def test_a_block_has_what_it_copies(plan: Plan) -> None:
    written = context(plan, *ALL)
    copied = re.findall(r"kernels/\w+/[\w.]+(?= )", written["Dockerfile"])
    assert {path for path in written if path.startswith("kernels/")} == set(copied)
    for name in ("c", "cpp", "octave"):
        specification = json.loads(written[f"kernels/{name}/kernel.json"])
        assert specification["argv"][0] == "/opt/jupyter/bin/python"
        assert written[f"kernels/{name}/kernel.py"] == (ROOT / f"{name}_kernel.py").read_text()


@pytest.mark.parametrize("path", sorted(LOCKS.glob("*.in")), ids=lambda path: path.stem)
def test_each_lock_goes_with_that_of_the_image(path: Path) -> None:
    lock = releases.part_lock("singleuser", path.stem)
    assert path.read_text().strip().lower().replace("_", "-") in lock
    assert lock.count("==") <= lock.count("--hash=sha256:")
    pins = re.findall(r"^([\w.-]+)==", releases.lock("singleuser"), re.MULTILINE)
    assert not set(pins) & set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))


def test_each_kernel_needs_room(plan: Plan) -> None:
    answer = "\n".join((disk("/", 9000), disk(DOCKER, 1500, "/dev/vdb1", "/data")))
    assert plan("docker", responses={"df --block": answer}).names
    with pytest.raises(PyinfraError, match="/data has 1500 MiB free, and this run needs 2600"):
        plan("docker", data={"hub_kernels": ["r", "c"]}, responses={"df --block": answer})
