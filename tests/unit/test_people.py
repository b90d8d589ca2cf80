"""People's files in a plan: limits on them, and disks that hold none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from tests.unit.plans import Plan

PLACES = "/etc/hubstead/people-files.json"
UNIT = "/etc/systemd/system/hubstead-people-files@.service"
LIFT = "files | Let people's files take what there is"
LIMIT = "files | Limit what each person's files take"
QUOTA = {"hub_disk_quota": "10G"}


def disk(fstype: str, target: str = "/srv", quotas: bool = False) -> dict[str, str]:
    """What the program says of a disk; the command ends with the settings and `disk`."""
    state = {"target": target, "source": "/dev/sdb1", "fstype": fstype, "quotas": quotas}
    return {"}\n' disk": json.dumps(state)}


def test_everybody_has_the_limits_of_the_settings(plan: Plan) -> None:
    run = plan("docker", data=QUOTA, responses=disk("xfs", quotas=True))
    assert LIMIT in run.names and LIMIT not in run.changing and LIFT not in run.names
    run.execute()
    assert json.loads(run.files[PLACES])["limits"] == [10 << 30, 655360]
    assert "CapabilityBoundingSet=CAP_SYS_ADMIN\n" in run.files[UNIT]
    others = {**disk("xfs", quotas=True), "}\n' unlimited": "70000\n70004"}
    assert LIMIT in plan("docker", data=QUOTA, responses=others).changing


def test_without_a_quota_limits_of_before_are_lifted_once(plan: Plan) -> None:
    run = plan("docker")
    assert LIFT in run.names and LIFT not in run.changing and LIMIT not in run.names
    run.execute()
    assert json.loads(run.files[PLACES])["limits"] is None
    assert "CAP_SYS_ADMIN" not in run.files[UNIT]
    before = {"/srv/hubstead/files/.accounts/.limited": "yes"}
    assert LIFT in plan("docker", responses=before).changing


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (disk("ext4"), ["ext4 of /dev/sdb1 at /srv)", "usrquota", "tune2fs -O quota /dev/sdb1"]),
        (disk("ext4", "/"), ["quotacheck --create-files --no-remount --user /"]),
        (disk("xfs"), ["add uquota", "umount /srv; mount /srv"]),
        (disk("xfs", "/"), ["rootflags=uquota", "update-grub"]),
        (disk("btrfs", "/"), ["cannot have them. Put the files on ext4 or XFS"]),
        (disk("overlay", "/"), ["cannot have them"]),
    ],
)
def test_a_disk_that_holds_no_limits_is_refused_in_words(
    plan: Plan, state: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(PyinfraError) as caught:
        plan("all", data=QUOTA, responses=state)
    for each in ["`hub_disk_quota` = '10G'", "Nothing was changed", "docs/servers.md", *words]:
        assert each in str(caught.value)


def test_the_page_and_the_servers_know_of_limits(plan: Plan) -> None:
    def settings(**data: Any) -> Any:
        run = plan("jupyterhub", data=data)
        run.execute()
        return json.loads(run.files["/etc/jupyterhub/settings.json"])["traits"]

    limited, free = settings(**QUOTA), settings()
    made_by = {"made_by": "hubstead_hub.files:Shown", "arguments": []}
    assert limited["JupyterHub"]["template_vars"] == {"files_of": made_by}
    assert "template_vars" not in free["JupyterHub"]
