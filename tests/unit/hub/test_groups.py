"""What people get by their groups, and what they choose: a real Hub, and the rules of a file."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from hubstead_hub.groups import Place, place_of, start_allowed_images
from hubstead_hub.may_stay import Ruled
from hubstead_hub.rules import Group, Profile, Rules
from tests.kit import forms
from tests.kit.userdb import Cluster, users_table
from tests.unit.hub.conftest import Browser, Hub, two_ports
from tests.unit.hub.test_rules import write

GROUP = {
    "members": [], "teachers": [], "members_from": [], "teachers_from": [], "memory": None,
    "cpus": None, "idle_timeout": None, "folder": None, "place": "/shared/x",
}  # fmt: skip
SMALL, LARGE, ODD = (
    {"name": name, "description": "", "memory": memory, "cpus": None, "groups": groups}
    for name, memory, groups in (
        ("Small", None, []),
        ("Large", 8 << 30, ["physics"]),
        ('<b>"Odd"', 1 << 29, []),
    )
)


def starts(person: Browser, page: str) -> bool:
    return person.post(page, profile="Small").status_code == 302


def group(**values: Any) -> dict[str, Any]:
    return GROUP | values


class Site:
    """The Hub, and the rules that it reads."""

    def __init__(self, hub: Hub, directory: Path) -> None:
        self.hub, self._directory = hub, directory

    def rules(self, **rules: Any) -> None:
        write(self._directory / "rules.json", idle_timeout=3600, **rules)

    def limits(self, person: Browser, name: str, options: dict[str, Any] | None = None) -> Any:
        """What a start of somebody's server has, and the answer to who asks for it."""
        note = self._directory / f"limits-{name}"
        note.unlink(missing_ok=True)
        body = {} if options is None else {"json": {"user_options": options}}
        answer = person.api("POST", f"/users/{name}/server", **body)
        found = json.loads(note.read_text()) if note.exists() else None
        return found, answer

    def let(self, name: str) -> None:
        (self._directory / name).touch()


@pytest.fixture(scope="module")
def site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    hub_users = users_table(cluster, tmp_path_factory.mktemp("users"), "userdb_groups")
    directory = tmp_path_factory.mktemp("hub")
    hub = Hub(hub_users, directory, two_ports(), configuration="groups_config.py")
    try:
        hub.wait()
        hub.person("admin", "--admin")
        yield Site(hub, directory)
    finally:
        hub.stop()


def test_limits_are_the_groups_and_change_while_the_hub_runs(site: Site) -> None:
    ada, bob = site.hub.logged_in("ada"), site.hub.logged_in("bob")
    site.rules(groups={})
    assert site.limits(ada, "ada")[0] == [2 << 30, 2.0]
    physics, chess = group(members=["ada"], memory=1 << 30, cpus=4), group(teachers=["ada"])
    site.rules(groups={"physics": physics, "chess": chess})
    assert site.limits(ada, "ada")[0] == [1 << 30, 4]
    assert site.limits(bob, "bob")[0] == [2 << 30, 2.0]
    # of several groups the larger counts
    site.rules(groups={"physics": physics, "chess": chess | {"memory": 3 << 30, "cpus": 0.5}})
    assert site.limits(ada, "ada")[0] == [3 << 30, 4]
    site.rules(groups={"physics": physics | {"members": ["bob"]}})
    assert site.limits(ada, "ada")[0] == [2 << 30, 2.0]
    assert site.limits(bob, "bob")[0] == [1 << 30, 4]


def test_a_choice_is_checked_and_remembered(site: Site) -> None:
    eva, max_ = site.hub.logged_in("eva"), site.hub.logged_in("max")
    physics = group(members=["eva"], memory=1 << 30)
    site.rules(groups={"physics": physics}, profiles=[SMALL, LARGE])
    assert site.limits(eva, "eva")[0] == [1 << 30, 2.0]
    assert site.limits(eva, "eva", {"profile": "Large"})[0] == [8 << 30, 2.0]
    assert site.limits(eva, "eva")[0] == [8 << 30, 2.0]
    for wrong in ("Larger", "", None, ["Large"], {"a": 1}):
        found, answer = site.limits(eva, "eva", {"profile": wrong})
        assert found is None and answer.status_code == 400
        words = answer.json()["message"]
        assert words == "There is no such profile to start. There are: 'Small', 'Large'."
    # for a group that one is not in, or has left
    found, answer = site.limits(max_, "max", {"profile": "Large"})
    assert found is None and answer.status_code == 400 and "'Large'" not in answer.text
    site.rules(groups={"physics": physics | {"members": []}}, profiles=[SMALL, LARGE])
    assert site.limits(eva, "eva")[0] == [2 << 30, 2.0]
    # and where that leaves nothing
    site.rules(groups={"physics": physics}, profiles=[LARGE])
    assert site.limits(eva, "eva")[0] == [8 << 30, 2.0]
    found, answer = site.limits(max_, "max")
    assert found is None and answer.status_code == 403
    assert "nothing here that you may start" in answer.json()["message"]
    page = max_.get("/hub/spawn/max")
    assert page.status_code == 403 and "nothing here that you may start" in page.text
    # a line each, and not where that was
    assert "raise ProfileError" not in site.hub.log.read_text()


def test_people_choose_on_a_page(site: Site) -> None:
    ida = site.hub.logged_in("ida")
    site.rules(groups={}, profiles=[SMALL, LARGE, ODD])
    page = ida.get("/hub/spawn/ida").text
    assert '<b>"Odd"' not in page and "&lt;b&gt;&#34;Odd&#34;" in page
    assert "512 MiB of memory" in page and "Large" not in page
    assert page.count("checked") == 1
    assert ida.post("/hub/spawn/ida", profile='<b>"Odd"').status_code in (302, 500)
    assert json.loads((site._directory / "limits-ida").read_text()) == [1 << 29, 2.0]
    refused = ida.post("/hub/spawn/ida", profile="Large")
    assert refused.status_code == 400 and "There is no such profile" in refused.text
    # one that is for everybody is nothing to choose
    site.rules(groups={}, profiles=[SMALL, LARGE])
    assert "<form" not in ida.get("/hub/spawn/ida").text


def test_who_has_chosen_waits_in_line_without_pressing_again(site: Site) -> None:
    site.rules(groups={}, profiles=[SMALL, ODD])
    first, second, third = (site.hub.logged_in(f"slow-{name}") for name in ("a", "b", "c"))
    for starting, name in ((first, "a"), (second, "b")):
        # who did not get a server a moment ago is in line for seconds
        site.hub.eventually(partial(starts, starting, f"/hub/spawn/slow-{name}"), 40)
    led = third.post("/hub/spawn/slow-c", profile='<b>"Odd"')
    assert led.status_code == 303
    way = led.headers["Location"]
    waiting: requests.Response = third.get(way)
    assert waiting.status_code == 429 and forms.refresh(waiting.text)
    assert forms.said(waiting.text).endswith("You are next.")
    site.let("slow-a")
    site.hub.eventually(lambda: third.get(way).status_code == 302)
    for name in ("slow-b", "slow-c"):
        site.let(name)
    site.hub.eventually((site._directory / "limits-slow-c").exists)
    assert json.loads((site._directory / "limits-slow-c").read_text()) == [1 << 29, 2.0]


def test_the_hub_tells_how_long_a_server_may_be_idle(site: Site) -> None:
    admin = site.hub.browser()
    assert admin.login("admin").status_code == 302
    site.hub.logged_in("slow-ivo")
    site.rules(groups={"physics": group(members=["slow-ivo"], idle_timeout=60)})
    start = partial(admin.api, "POST", "/users/slow-ivo/server")
    site.hub.eventually(lambda: start().status_code in (202, 400), 40)

    def idle() -> Any:
        servers = admin.api("GET", "/users/slow-ivo").json()["servers"]
        return servers[""]["idle_timeout"]

    assert idle() == 60
    site.rules(groups={})
    assert idle() == 3600
    site.let("slow-ivo")


def place(*groups: Group, rules: Rules | None = None) -> Place:
    return Place(rules or Rules(idle_timeout=3600), dict(zip("abc", groups, strict=False)))


def test_of_several_groups_the_larger_counts() -> None:
    some, more, never = Group(idle_timeout=60), Group(idle_timeout=7200), Group(idle_timeout=0)
    assert place().idle_timeout == place(Group()).idle_timeout == 3600
    assert place(some).idle_timeout == 60
    assert place(some, more).idle_timeout == 7200
    assert place(some, never, more).idle_timeout == 0
    assert place(Group(memory=2), Group(), Group(memory=1)).memory == 2
    assert place(Group()).memory is None
    # an owner's own way to log in, which has no rules: the culler's own limit counts
    assert Place().idle_timeout is None


def test_each_start_is_of_the_image_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class DockerSpawner:
        """What of the package's chooses an image."""

        def __init__(self, rules: Rules) -> None:
            authenticator = SimpleNamespace(
                rules=SimpleNamespace(now=rules), groups_of=lambda user: set()
            )
            self.user = SimpleNamespace(name="ada", authenticator=authenticator)
            self.image, self.cmd = "standard:1", ["python"]
            self.user_options: dict[str, Any] = {}

        async def start(self) -> None:
            self.image = self.user_options.get("image") or self.image
            await self.create_object()

        async def create_object(self) -> None: ...

    module = SimpleNamespace(DockerSpawner=DockerSpawner)
    monkeypatch.setitem(sys.modules, "dockerspawner", module)
    start_allowed_images()
    spawner = DockerSpawner(Rules(profiles=(Profile("Small"), Profile("Course", image="own:1"))))
    ours, theirs = ["python"], ["jupyterhub-singleuser"]
    for options, expected in (
        ({}, ("standard:1", ours)),
        ({"profile": "Course"}, ("own:1", theirs)),
        ({"image": "own:2"}, ("own:2", theirs)),
        # what was started before is no choice
        ({"profile": "Small"}, ("standard:1", ours)),
    ):
        spawner.user_options = options
        asyncio.run(spawner.start())
        assert (spawner.image, spawner.cmd) == expected


def test_a_folder_is_a_members_to_see_and_a_teachers_to_change() -> None:
    one, other = (Group(folder=f"/srv/{name}", place=f"/shared/{name}") for name in "ab")
    taught = replace(place(one, other, Group()), teaches=frozenset("b"))
    assert taught.folders(writable=True) == {"/srv/b": "/shared/b"}
    assert taught.folders(writable=False) == {"/srv/a": "/shared/a"}


def test_groups_of_the_provider_count_where_it_tells_of_them() -> None:
    rules = Rules(
        declared={
            "physics": Group(members_from=frozenset({"physik"})),
            "chess": Group(teachers_from=frozenset({"schach"})),
            "go": Group(members=frozenset({"ada"})),
        },
        profiles=(Profile("x"),),
    )
    assert rules.groups == {"physik", "schach"}
    # they let nobody in
    assert not rules.admits("ada", ["physik", "schach"])
    orm = [SimpleNamespace(name="physik"), SimpleNamespace(name="schach")]
    for told, expected in ((True, {"physics", "chess", "go"}), (False, {"go"})):
        authenticator = Ruled(manage_groups=told)
        authenticator.rules = SimpleNamespace(now=rules)
        user = SimpleNamespace(name="ada", groups=orm, authenticator=authenticator)
        found = place_of(user)
        assert found.groups.keys() == expected
        assert found.teaches == ({"chess"} if told else set())
    # an owner's lines may have chosen another way to log in
    assert place_of(SimpleNamespace(authenticator=SimpleNamespace())) == Place()
