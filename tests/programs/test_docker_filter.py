"""The filter before Docker: what it passes is made anew, and all else is refused."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from programs.docker_filter import (
    Filter,
    Group,
    Policy,
    Profile,
    RefusedError,
    Request,
    description,
    free_address,
)
from tests.kit.docker import ADDRESS, CREATE, ID, IMAGE, NAME, OURS, POLICY, WANTED, Docker, changed

REMOVE = "?v=True&link=False&force=False"


def create(body: dict[str, Any] | bytes, target: str = CREATE) -> dict[str, Any]:
    """What Docker is asked to make in the end."""
    docker = Docker()
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    Filter(POLICY, docker).answer(Request("POST", target, text))
    _, asked = docker.asked
    assert (asked.method, asked.target) == ("POST", target)
    return dict(json.loads(asked.body))


def test_what_the_spawner_wants_is_made_with_what_the_policy_adds() -> None:
    place = {"hubstead": {"IPAMConfig": {"IPv4Address": ADDRESS}}}
    wanted = changed("HostConfig.OomScoreAdj", 500) | {
        "User": "70001:59000",
        "NetworkingConfig": {"EndpointsConfig": place},
    }
    assert create(WANTED) == wanted
    # an owner's other limits, and an engine that ends containers which remove themselves
    body = changed("HostConfig.AutoRemove", False)
    body["HostConfig"] |= {"Memory": 1 << 30, "PidsLimit": 64, "CpuQuota": 50_000}
    assert create(body)["HostConfig"]["Memory"] == 1 << 30


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("Image", "debian:trixie"),
        ("Image", "hubstead/singleuser"),
        ("Image", f"{IMAGE}\n"),
        ("Image", "hubstead/base:7cd3b8675f0e"),
        ("User", "root"),
        ("User", "70001:59000"),
        ("Entrypoint", ["/bin/sh"]),
        ("Labels", {"a": "b"}),
        ("Healthcheck", {"Test": ["CMD", "true"]}),
        ("MacAddress", "02:42:ac:11:00:02"),
        ("Env", "A=1"),
        ("Env", [1]),
        ("Cmd", "sh"),
        ("Volumes", {"/": {}}),
        ("ExposedPorts", {"22/tcp": None}),
        ("NetworkingConfig", {"EndpointsConfig": {"bridge": {}}}),
        ("hostconfig", {"Privileged": True}),
        ("HOSTCONFIG", {"Privileged": True}),
        ("Hostconfig", {}),
        ("HostConfig", []),
        ("HostConfig.Privileged", True),
        ("HostConfig.privileged", True),
        ("HostConfig.Privileged", False),
        ("HostConfig.Binds", ["/:/home/jovyan:rw"]),
        ("HostConfig.Binds", ["/run/docker.sock:/home/jovyan:rw"]),
        ("HostConfig.Binds", ["/srv/hubstead/files/bob:/home/jovyan:rw"]),
        ("HostConfig.Binds", ["/srv/hubstead/files/ada:/home/jovyan:rw", "/:/mnt"]),
        ("HostConfig.Binds", ["/srv/hubstead/files/ada:/:rw"]),
        ("HostConfig.Binds", ["hubstead-user-ada:/home/jovyan:rw"]),
        ("HostConfig.Binds", ["/srv/hubstead/files/ada/../bob:/home/jovyan:rw"]),
        ("HostConfig.Binds", ["/srv/hubstead/files:/home/jovyan:rw"]),
        ("HostConfig.Binds", []),
        ("HostConfig.Binds", None),
        ("HostConfig.binds", ["/:/mnt"]),
        ("HostConfig.Mounts", [{"Type": "bind", "Source": "/", "Target": "/mnt"}]),
        ("HostConfig.VolumesFrom", ["blog"]),
        ("HostConfig.Links", ["blog:blog"]),
        ("HostConfig.NetworkMode", "host"),
        ("HostConfig.NetworkMode", "bridge"),
        ("HostConfig.NetworkMode", "container:blog"),
        ("HostConfig.NetworkMode", None),
        ("HostConfig.PidMode", "host"),
        ("HostConfig.IpcMode", "host"),
        ("HostConfig.UTSMode", "host"),
        ("HostConfig.UsernsMode", "host"),
        ("HostConfig.CgroupnsMode", "host"),
        ("HostConfig.CapAdd", ["SYS_ADMIN"]),
        ("HostConfig.CapDrop", []),
        ("HostConfig.CapDrop", None),
        ("HostConfig.SecurityOpt", ["seccomp=unconfined"]),
        ("HostConfig.SecurityOpt", ["no-new-privileges", "apparmor=unconfined"]),
        ("HostConfig.SecurityOpt", None),
        ("HostConfig.Devices", [{"PathOnHost": "/dev/vda"}]),
        ("HostConfig.DeviceRequests", [{"Count": -1}]),
        ("HostConfig.DeviceCgroupRules", ["a *:* rwm"]),
        ("HostConfig.PortBindings", {"8888/tcp": [{"HostPort": "80"}]}),
        ("HostConfig.PublishAllPorts", True),
        ("HostConfig.Memory", (2 << 30) + 1),
        ("HostConfig.Memory", 0),
        ("HostConfig.Memory", -1),
        ("HostConfig.Memory", True),
        ("HostConfig.Memory", 1.0),
        ("HostConfig.Memory", "1"),
        ("HostConfig.Memory", None),
        ("HostConfig.MemorySwap", -1),
        ("HostConfig.CpuQuota", 150_001),
        ("HostConfig.CpuQuota", -1),
        ("HostConfig.CpuQuota", None),
        ("HostConfig.NanoCpus", 64_000_000_000),
        ("HostConfig.PidsLimit", -1),
        ("HostConfig.PidsLimit", 513),
        ("HostConfig.PidsLimit", None),
        ("HostConfig.OomScoreAdj", -1000),
        ("HostConfig.OomKillDisable", True),
        ("HostConfig.CgroupParent", "/"),
        ("HostConfig.Runtime", "other"),
        ("HostConfig.LogConfig", {"Type": "syslog"}),
        ("HostConfig.RestartPolicy", {"Name": "always"}),
        ("HostConfig.Sysctls", {"net.ipv4.ip_forward": "1"}),
        ("HostConfig.Init", False),
        ("HostConfig.ANewFeatureOfDocker", True),
    ],
)  # fmt: skip
def test_no_other_container_is_made(path: str, value: object) -> None:
    with pytest.raises(RefusedError) as caught:
        create(changed(path, value))
    assert caught.value.status == 403
    # the reason names what is wrong
    assert path.rpartition(".")[2] in str(caught.value)


@pytest.mark.parametrize("period", [1, 0, -1, 2_000_000, True, "100000", None])
def test_the_cores_are_those_of_the_policy(period: object) -> None:
    """A quota is for a period (cpu.max in the kernel's cgroup-v2.rst)."""
    with pytest.raises(RefusedError, match="Cpu"):
        create(changed("HostConfig.CpuPeriod", period))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{", b"\xff{}", b"{} {}", b"[" * 100_000, b'{"Tty": 1' + b"0" * 9999,
        json.dumps(WANTED)[:-1].encode() + b', "Image": "debian"}',
        json.dumps(WANTED).replace('"Init"', '"Privileged": true, "Privileged"').encode(),
        "\ufeff{}".encode(),
    ],
)  # fmt: skip
def test_what_two_readers_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        create(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "name", ["blog", "hubstead-ada", "hubstead-Ada--", "hubstead-a--b--", "hubstead-a/../b--",
             "hubstead-ada--&platform=x", "hubstead-ada--&name=hubstead-b--", "", "%68ubstead-a--"]
)  # fmt: skip
def test_a_container_has_the_name_of_a_persons(name: str) -> None:
    with pytest.raises(RefusedError):
        create(WANTED, f"/v1.45/containers/create?name={name}")


def test_a_new_server_gets_an_address_that_nobody_had_a_moment_ago() -> None:
    """But by chance: each is as likely as another, and one that somebody has is left out."""
    network: dict[str, Any] = {"IPAM": {"Config": [{"Subnet": "172.30.0.0/16"}]}, "Containers": {}}
    given = {free_address(network) for _ in range(50)}
    assert len(given) > 40
    assert all(each and int(each.split(".")[2]) >= 128 for each in given)
    # where none is left, Docker takes one of its own
    having = {str(n): {"IPv4Address": f"192.0.2.{n}/28"} for n in range(8, 15)}
    full = {"IPAM": {"Config": [{"Subnet": "192.0.2.0/28"}]}, "Containers": having}
    assert free_address(full) is None


def test_what_the_owner_shares_is_there_for_all_and_as_the_policy_has_it() -> None:
    policy = replace(POLICY, shared=["/srv/course:/course:ro"])
    binds = ["/srv/hubstead/files/ada:/home/jovyan:rw", "/srv/course:/course:ro"]
    body = changed("HostConfig.Binds", binds)
    body["Volumes"] = {"/home/jovyan": {}, "/course": {}}
    docker = Docker()
    Filter(policy, docker).answer(Request("POST", CREATE, json.dumps(body).encode()))
    _, asked = docker.asked
    assert json.loads(asked.body)["HostConfig"]["Binds"] == binds
    for wrong in (binds[:1], [*binds, "/srv/x:/x:ro"], [binds[0], "/srv/course:/course:rw"]):
        body["HostConfig"]["Binds"] = wrong
        with pytest.raises(RefusedError, match="Binds"):
            Filter(policy, docker).answer(Request("POST", CREATE, json.dumps(body).encode()))


def test_an_image_of_the_owner_is_passed_to_the_letter() -> None:
    digest = f"reg.example.org:5000/b_c@sha256:{ID}"
    policy = replace(POLICY, images=["mine/course:1.0", digest])
    docker = Docker(OURS)
    for image in policy.images:
        target = f"/v1.45/images/{image.replace('@', '%40')}/json"
        assert Filter(policy, docker).answer(Request("GET", target, b"")).status == 200
        assert description(policy, "ada", changed("Image", image))["Image"] == image
    for image in ("mine/course:1x0", "mine/course", "x/mine/course:1.0", "MINE/course:1.0"):
        with pytest.raises(RefusedError, match="Image has to be"):
            description(policy, "ada", changed("Image", image))
        with pytest.raises(RefusedError, match="not the image of"):
            Filter(policy, docker).answer(Request("GET", f"/images/{image}/json", b""))


def test_it_runs_as_whom_its_files_belong_to(tmp_path: Path) -> None:
    files, uid = tmp_path / "files", os.getuid()
    (files / "ada").mkdir(parents=True)
    policy = replace(Policy(**asdict(POLICY)), files=str(files), uids=(uid, uid))
    assert policy.user("ada") == f"{uid}:59000"
    for owner, uids in (("bob", (uid, uid)), ("ada", (uid + 1, uid + 9))):
        with pytest.raises(RefusedError):
            replace(policy, uids=uids).user(owner)


@pytest.mark.parametrize(("name", "owner"), [("b-c3-b6--", "b-c3-b6"), ("a--x-2dy", "a")])
def test_a_container_gets_the_files_of_whom_it_is_for(name: str, owner: str) -> None:
    body = changed("HostConfig.Binds", [f"/srv/hubstead/files/{owner}:/home/jovyan:rw"])
    assert create(body, f"/v1.45/containers/create?name=hubstead-{name}")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/containers/json"), ("GET", "/v1.45/containers/json?all=1"), ("GET", "/info"),
        ("GET", "/events"), ("GET", "/images/json"), ("GET", "/v1.45/images/debian:trixie/json"),
        ("GET", f"/images/{IMAGE}/get"), ("GET", f"/images/..%2f{IMAGE}/json"),
        ("GET", f"/images/x/../{IMAGE}/json"), ("GET", "/_ping"), ("GET", "/volumes"),
        ("GET", "/v1.24/version"), ("GET", "/v1.045/version"), ("GET", "/v2.0/version"),
        ("GET", "//version"), ("GET", "/version/"), ("GET", "/version?x=1"), ("GET", "/Version"),
        ("GET", "/./version"), ("GET", "/%76ersion"), ("GET", "/version\n"), ("HEAD", "/version"),
        ("OPTIONS", "/version"), ("GET", f"/containers/{NAME}/json?size=1"),
        ("GET", f"/containers/{NAME}/archive?path=/"), ("PUT", f"/containers/{NAME}/archive"),
        ("GET", f"/containers/{NAME}/logs?stdout=1"), ("GET", f"/containers/{NAME}/export"),
        ("POST", f"/containers/{NAME}/exec"), ("POST", f"/containers/{NAME}/attach?stream=1"),
        ("POST", f"/containers/{NAME}/update"), ("POST", f"/containers/{NAME}/rename?name=blog"),
        ("POST", f"/containers/{NAME}/kill"), ("POST", f"/containers/{NAME}/start?detachKeys=x"),
        ("POST", f"/containers/{NAME}/stop?t=0"), ("POST", f"/containers/../images/{IMAGE}/start"),
        ("POST", "/containers/blog/start"), ("POST", f"/containers/{ID[:12]}/start"),
        ("POST", "/commit?container=x"), ("POST", "/build"), ("POST", "/images/load"),
        ("POST", "/images/create?fromImage=debian"), ("POST", f"/images/{IMAGE}/tag?repo=x"),
        ("POST", "/networks/bridge/connect"), ("POST", "/networks/create"), ("POST", "/prune"),
        ("POST", "/volumes/create"), ("POST", "/swarm/init"), ("POST", "/plugins/pull"),
        ("POST", "/containers/prune"), ("POST", "/session"), ("POST", "/grpc"),
        ("POST", "/auth"), ("DELETE", "/volumes/hubstead-user-ada"), ("DELETE", f"/images/{IMAGE}"),
        ("DELETE", f"/containers/{NAME}"), ("DELETE", f"/containers/{NAME}?v=True"),
        ("DELETE", f"/containers/{NAME}?v=True&link=False&force=True"),
        ("DELETE", f"/containers/{NAME}{REMOVE}&force=True"), ("DELETE", "/networks/hubstead"),
    ],
)  # fmt: skip
def test_no_other_call_reaches_docker(method: str, target: str) -> None:
    docker = Docker(OURS)
    with pytest.raises(RefusedError):
        Filter(POLICY, docker).answer(Request(method, target, b""))
    assert docker.asked == []


CHANGES = [("POST", "/start"), ("POST", "/stop"), ("DELETE", REMOVE)]


@pytest.mark.parametrize(("method", "end"), CHANGES)
@pytest.mark.parametrize("known_as", [NAME, ID])
def test_a_persons_container_is_changed_by_its_identity(
    method: str, end: str, known_as: str
) -> None:
    docker = Docker(OURS)
    Filter(POLICY, docker).answer(Request(method, f"/v1.45/containers/{known_as}{end}", b""))
    looked, did = docker.asked
    assert looked == Request("GET", f"/v1.45/containers/{known_as}/json", b"")
    assert did == Request(method, f"/v1.45/containers/{ID}{end}", b"")


@pytest.mark.parametrize(("method", "end"), [*CHANGES, ("GET", "/json")])
@pytest.mark.parametrize(
    "difference",
    [
        {"Name": "/blog"},
        {"Name": "/hubstead-blog"},
        {"Config": {"Image": "postgres:17"}},
        {"Config": {"Image": f"sha256:{ID}"}},
        {"HostConfig": {"NetworkMode": "host"}},
    ],
)
def test_a_container_of_the_owners_is_neither_shown_nor_changed(
    method: str, end: str, difference: dict[str, Any]
) -> None:
    docker = Docker(OURS | difference)
    with pytest.raises(RefusedError, match="no person's server"):
        Filter(POLICY, docker).answer(Request(method, f"/containers/{ID}{end}", b""))
    assert [asked.method for asked in docker.asked] == ["GET"]


def test_what_is_gone_is_said_to_be_gone() -> None:
    docker = Docker()
    answer = Filter(POLICY, docker).answer(Request("GET", f"/containers/{NAME}/json", b""))
    assert answer.status == 404
    answer = Filter(POLICY, docker).answer(Request("POST", f"/containers/{NAME}/stop", b""))
    assert answer.status == 404 and len(docker.asked) == 2


def test_a_call_without_a_body_has_none() -> None:
    docker = Docker(OURS)
    with pytest.raises(RefusedError, match="no body"):
        Filter(POLICY, docker).answer(Request("POST", f"/containers/{NAME}/start", b"{}"))
    assert docker.asked == []


def with_groups(folder: str = "/srv/groups/physics", **values: Any) -> Policy:
    """ada is in a group, which grace teaches."""
    given: dict[str, Any] = {
        "members": ["ada", "grace"], "teachers": ["grace"], "anybody": False,
        "anybody_teaches": False, "memory": 4 << 30, "cpus": 3, "folder": folder,
        "place": "/shared/physics",
    }  # fmt: skip
    return replace(POLICY, groups={"physics": Group(**given | values)})


def fits(policy: Policy, owner: str, *folders: str, **host_config: Any) -> bool:
    """Whether somebody's server may have these folders and limits."""
    body = json.loads(json.dumps(WANTED).replace("files/ada", f"files/{owner}"))
    body["HostConfig"]["Binds"] += folders
    body["HostConfig"] |= host_config
    body["Volumes"] |= {folder.split(":")[1]: {} for folder in folders}
    try:
        made = description(policy, owner, body)
    except RefusedError:
        return False
    assert made["HostConfig"]["Binds"] == body["HostConfig"]["Binds"]
    return True


def test_a_folder_is_for_members_and_changed_by_teachers(tmp_path: Path) -> None:
    read, write = (f"{tmp_path}:/shared/physics:{mode}" for mode in ("ro", "rw"))
    policy = with_groups(str(tmp_path))
    assert fits(policy, "ada", read) and not fits(policy, "ada", write)
    assert fits(policy, "grace", read) and fits(policy, "grace", write)
    assert not fits(policy, "grace", read, write)
    assert not fits(policy, "eve", read) and not fits(policy, "eve", write)
    for other in (
        f"{tmp_path}:/home/jovyan:ro", f"{tmp_path}:/shared/other:ro", f"{tmp_path}:/etc:ro",
        f"{tmp_path}/..:/shared/physics:ro", "/:/shared/physics:ro", f"{read},z", write + "w",
    ):  # fmt: skip
        assert not fits(policy, "ada", other), other
    assert not fits(with_groups(f"{tmp_path}/gone"), "ada", f"{tmp_path}/gone:/shared/physics:ro")
    # by the provider's word, which the Hub passes on
    theirs = with_groups(str(tmp_path), anybody=True)
    assert fits(theirs, "eve", read) and not fits(theirs, "eve", write)
    assert fits(with_groups(str(tmp_path), anybody=True, anybody_teaches=True), "eve", write)


def test_the_person_own_files_and_what_all_share_come_always(tmp_path: Path) -> None:
    read = f"{tmp_path}:/shared/physics:ro"
    policy = replace(with_groups(str(tmp_path)), shared=["/srv/course:/course:ro"])
    assert fits(policy, "ada", "/srv/course:/course:ro", read)
    assert not fits(policy, "ada", read)
    body = changed("HostConfig.Binds", [read])
    with pytest.raises(RefusedError):
        description(policy, "ada", body)


def test_what_is_mounted_is_what_is_declared(tmp_path: Path) -> None:
    for volumes in ({"/home/jovyan": {}}, {"/home/jovyan": {}, "/etc": {}}, {}, []):
        body = changed("Volumes", volumes)
        body["HostConfig"]["Binds"].append(f"{tmp_path}:/shared/physics:ro")
        with pytest.raises(RefusedError):
            description(with_groups(str(tmp_path)), "ada", body)


def test_limits_are_the_largest_that_somebody_may_have() -> None:
    large, own = Profile([], 8 << 30, 6), Profile(["physics"], 8 << 30, 6)

    def most(policy: Policy, owner: str) -> tuple[int, float]:
        memory, cpus = policy.memory_of(owner), policy.cpus_of(owner)
        assert fits(policy, owner, Memory=memory, CpuQuota=int(cpus * 100000))
        assert not fits(policy, owner, Memory=memory + 1)
        assert not fits(policy, owner, CpuQuota=int(cpus * 100000) + 1)
        return memory >> 20, cpus

    assert most(with_groups(), "ada") == (4096, 3)
    assert most(with_groups(), "eve") == (2048, 1.5)
    # less than others, where the settings say who is in it; by the Hub's word, never less
    assert most(with_groups(memory=1 << 30, cpus=0.5), "ada") == (1024, 0.5)
    assert most(with_groups(memory=1 << 30, cpus=0.5, anybody=True), "eve") == (2048, 1.5)
    assert most(with_groups(anybody=True), "eve") == (4096, 3)
    assert most(with_groups(memory=None, cpus=None), "ada") == (2048, 1.5)
    for profile, of_eve in ((large, (8192, 6)), (own, (2048, 1.5))):
        policy = replace(with_groups(), profiles=[profile])
        assert most(policy, "ada") == (8192, 6)
        assert most(policy, "eve") == of_eve


def test_a_policy_of_an_earlier_version_has_no_groups() -> None:
    document = {**asdict(POLICY), "uids": [70000, 79999]}
    assert Policy.read({**document, "groups": {}, "profiles": []}) == Policy(**asdict(POLICY))
    del document["groups"], document["profiles"]
    assert Policy.read(document).groups == {}
    with_one = asdict(with_groups())
    assert Policy.read(with_one).groups["physics"].teachers == ["grace"]
