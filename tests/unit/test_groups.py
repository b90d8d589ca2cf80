"""Groups and profiles: the settings, and what the Hub and the filter before Docker are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hubstead.groups import escaped
from hubstead.settings.model import check
from tests.unit.plans import TRUST, Plan, Run
from tests.unit.test_accounts import LDAP

RULES, POLICY = "/etc/hubstead/hub-rules.json", "/etc/hubstead/docker-filter.json"
PHYSICS = {
    "members": ["ada", "bob@example.org"], "teachers": ["grace"], "memory": "4G", "cpus": 4,
    "idle_timeout": 7200, "shared": True,
}  # fmt: skip
GROUPS: dict[str, Any] = {"hub_groups": {"physics": PHYSICS}}
LARGE = {"name": "Large", "description": "For <big> data", "memory": "8G", "groups": ["physics"]}
PROFILES = {"hub_profiles": [{"name": "Small"}, LARGE]}


def grouped(**values: Any) -> dict[str, Any]:
    return {"hub_groups": {"physics": values}}


@pytest.mark.parametrize(
    "data",
    [
        GROUPS,
        GROUPS | PROFILES,
        grouped(),
        grouped(idle_timeout=60) | {"hub_spawner": "systemd"},
        grouped(memory="512M", idle_timeout=0),
        LDAP | {"hub_admins": ["ada"]} | grouped(**{"from": ["Physik Ü"], "teachers_from": ["x"]}),
        {"hub_profiles": [{"name": "Small"}]},
        {"hub_group_files": "/mnt/large/groups", **GROUPS},
    ],
)
def test_groups_are_settled(data: dict[str, Any]) -> None:
    assert check(TRUST | data) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (grouped(member=["ada"]), ["`hub_groups['physics']`", "did you mean 'members'?"]),
        (grouped(x=1), ["'x' is no key here: there are members, teachers, from,"]),
        (grouped(members=["Ada"]), ["`hub_groups['physics']['members'][0]`", "lower-case"]),
        (grouped(memory="4"), ["`hub_groups['physics']['memory']`"]),
        (grouped(cpus=0), ["`hub_groups['physics']['cpus']`"]),
        (grouped(idle_timeout=5), ["at least 10 seconds, or 0 for never"]),
        (grouped(shared="maybe"), ["`hub_groups['physics']['shared']`"]),
        ({"hub_groups": {"../physics": {}}}, ["'../physics' is no name of a group"]),
        ({"hub_groups": ["physics"]}, ["`hub_groups`"]),
        (
            grouped(**{"from": ["physik"]}),
            ["'users-table' tells nothing; ldap, oidc, pam, saml do"],
        ),
        (grouped(memory="9G") | {"hub_servers_memory": "8G"}, ["'physics' has 9G of memory"]),
        (GROUPS | {"hub_group_files": "/srv/hubstead/files/x"}, ["one is within the other"]),
        (GROUPS | {"hub_group_files": "/home/x"}, ["`hub_group_files`", "/home is the system's"]),
        (GROUPS | {"hub_shared_files": {"/srv/x": "/shared/x"}}, ["where folders of"]),
        (PROFILES, ["'Large' is for the group 'physics', which `hub_groups` does not have"]),
        (
            GROUPS | {"hub_profiles": [{"name": "a", "groups": ["physic"]}]},
            ["did you mean 'physics'?"],
        ),
        ({"hub_profiles": [{"name": "a"}, {"name": "a"}]}, ["'a' is there twice"]),
        ({"hub_profiles": [{"name": "a\nb"}]}, ["no text in one line"]),
        ({"hub_profiles": [{"nam": "a"}]}, ["did you mean 'name'?"]),
        (
            {"hub_profiles": [{"name": "a", "image": "b:1"}], "hub_allowed_images": ["b:2"]},
            ["'a' has the image 'b:1', which `hub_allowed_images` does not have"],
        ),
        ({"hub_allowed_images": ["b"]}, ["'b' is no image with a tag"]),
        ({"hub_allowed_images": ["reg.example.org:5000/b"]}, ["is no image with a tag"]),
        ({"hub_allowed_images": ["b:1 --privileged"]}, ["is no image with a tag"]),
        ({"hub_allowed_images": ["hubstead/singleuser:1"]}, ["is built by the host itself"]),
        (
            {"hub_allowed_images": ["b:1"], "hub_spawner": "systemd"},
            ["`hub_allowed_images` are for `hub_spawner` = 'docker'"],
        ),
        ({"hub_group": {}}, ["did you mean `hub_groups`?"]),
    ],
)
def test_what_cannot_be_is_refused_in_words(data: dict[str, Any], words: list[str]) -> None:
    mistakes = check(TRUST | data)
    assert len(mistakes) == 1
    for each in words:
        assert each in mistakes[0]


def executed(plan: Plan, deploy: str, **data: Any) -> Run:
    run = plan(deploy, data=data)
    run.execute()
    return run


def test_who_comes_restarts_neither_the_hub_nor_a_server(plan: Plan) -> None:
    before = executed(plan, "all", **GROUPS).files
    after = executed(plan, "all", **grouped(**PHYSICS | {"members": ["eve"], "memory": "3G"})).files
    assert {path for path in after if after[path] != before.get(path)} == {RULES, POLICY}
    told = json.loads(after[RULES])["groups"]["physics"]
    assert told["members"] == ["eve"] and told["memory"] == 3 << 30
    assert (told["folder"], told["place"]) == ("/srv/hubstead/groups/physics", "/shared/physics")


def test_the_filter_knows_who_is_in_a_group(plan: Plan) -> None:
    told = json.loads(executed(plan, "docker", **GROUPS, **PROFILES).files[POLICY])
    assert told["groups"]["physics"] == {
        "members": ["ada", "bob-40example-2eorg", "grace"], "teachers": ["grace"],
        "anybody": False, "anybody_teaches": False, "memory": 4 << 30, "cpus": 4,
        "folder": "/srv/hubstead/groups/physics", "place": "/shared/physics",
    }  # fmt: skip
    assert told["profiles"][1] == {"groups": ["physics"], "memory": 8 << 30, "cpus": None}
    assert escaped("ann-marie_x") == "ann-2dmarie-5fx"


def test_images_of_the_owner_are_fetched_once_and_allowed(plan: Plan) -> None:
    fetch = "singleuser | Fetch the owner's images"
    settings = "/etc/jupyterhub/settings.json"
    plain = executed(plan, "jupyterhub")
    assert fetch not in plan("docker").names
    assert "start_allowed_images" not in json.loads(plain.files[settings])["code"]
    own = ["mine/course:2026", f"reg.example.org:5000/b@sha256:{'0' * 64}"]
    data = {"hub_allowed_images": own, "hub_profiles": [{"name": "Course", "image": own[0]}]}
    run = executed(plan, "docker", **data)
    pulled = [command for command in run.sent.commands if "docker pull" in command]
    assert len(pulled) == 2 and own[0] in pulled[0]
    assert json.loads(run.files[POLICY])["images"] == own
    there = {"--format ok": "\n".join(own)}
    assert fetch not in plan("docker", data=data, responses=there).changing
    told = json.loads(executed(plan, "all", **data).files[settings])
    allowed = told["traits"]["DockerSpawner"]["allowed_images"]
    assert allowed.pop("standard") == told["traits"]["DockerSpawner"]["image"]
    assert allowed == {each: each for each in own}
    assert "start_allowed_images" in told["code"]


def test_a_folder_is_made_for_whom_it_is(plan: Plan) -> None:
    name = "files | Make the folders of groups"
    run = plan("docker", data=GROUPS)
    assert name in run.changing
    run.execute()
    assert "install -d -o 0 -g 59000 -m 770 -- /srv/hubstead/groups/physics" in [
        command.removeprefix("sudo -H -n sh -c ").strip("'") for command in run.sent.commands
    ]
    there = {"%u:%g:%f": "0:59000:41f8 /srv/hubstead/groups/physics"}
    assert name not in plan("docker", data=GROUPS, responses=there).changing
    assert name not in plan("docker", data=grouped(members=["ada"])).names


def test_idle_times_of_groups_are_looked_at_often_enough(plan: Plan) -> None:
    def culler(**data: Any) -> list[str]:
        traits = json.loads(
            executed(plan, "jupyterhub", **data).files["/etc/jupyterhub/settings.json"]
        )["traits"]
        services = {each["name"]: each for each in traits["JupyterHub"]["services"]}
        return list(services.get("idle-culler", {}).get("command", []))

    assert "--every=300" in culler() and "--timeout=3600" in culler()
    assert {"--every=10", "--reports=10"} <= {*culler(**grouped(idle_timeout=80))}
    assert culler(hub_idle_timeout=0) == []
    assert {"--every=10", "--timeout=80"} <= {
        *culler(hub_idle_timeout=0, **grouped(idle_timeout=80))
    }


def test_the_page_to_choose_is_there_where_there_are_profiles(plan: Plan) -> None:
    def spawner(**data: Any) -> Any:
        run = executed(plan, "jupyterhub", **data)
        return json.loads(run.files["/etc/jupyterhub/settings.json"])["traits"]["Spawner"]

    assert "options_form" not in spawner()
    assert spawner(**GROUPS, **PROFILES)["options_form"] == {
        "made_by": "hubstead_hub.groups:Chooser", "arguments": [],
    }  # fmt: skip
