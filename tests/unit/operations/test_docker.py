"""Docker networks and images: made once, made anew when they differ, collected when unused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import OperationError

from hubstead.operations import docker, docker_daemon, files
from hubstead.operations.docker import Images, ImagesState, Network, NetworkState
from tests.unit.operations.support import lines

OPTIONS = {"com.docker.network.bridge.name": "hubstead0", "b": "false"}
NETWORK = {"network": "hubstead", "subnet": "172.30.0.0/16", "options": OPTIONS}
CREATE = (
    "docker network create --driver=bridge --subnet=172.30.0.0/16 --opt=b=false"
    " --opt=com.docker.network.bridge.name=hubstead0 hubstead >/dev/null"
)


def test_a_network_is_made_once() -> None:
    assert lines(docker.network, {Network: None}, **NETWORK) == [CREATE]
    settled = NetworkState(OPTIONS, "172.30.0.0/16", ("hubstead-ada",))
    assert lines(docker.network, {Network: settled}, **NETWORK) == []


@pytest.mark.parametrize(
    "state",
    [NetworkState(OPTIONS, "10.0.0.0/16", ()), NetworkState({"b": "true"}, "172.30.0.0/16", ())],
)
def test_an_unused_network_that_differs_is_made_anew(state: NetworkState) -> None:
    remove = "docker network rm hubstead >/dev/null"
    assert lines(docker.network, {Network: state}, **NETWORK) == [remove, CREATE]


def test_what_holds_the_network_lets_go_of_it_first() -> None:
    state = NetworkState(OPTIONS, "10.0.0.0/16", ("hubstead-holder",))
    assert lines(docker.network, {Network: state}, **NETWORK) == [
        "systemctl stop hubstead-holder.service", "docker network rm hubstead >/dev/null", CREATE,
    ]  # fmt: skip


def test_a_network_in_use_is_never_taken_away() -> None:
    state = NetworkState(
        OPTIONS, "10.0.0.0/16", ("hubstead-ada", "hubstead-eve", "hubstead-holder")
    )
    with pytest.raises(OperationError, match="in use by hubstead-ada, hubstead-eve: stop these"):
        lines(docker.network, {Network: state}, **NETWORK)


CONTEXT = {"Dockerfile": files.File("FROM debian\n"), "certificates/README": files.File("x\n")}
BUILD = {
    "repository": "hubstead/singleuser", "tag": "new", "directory": "/opt/image",
    "context": CONTEXT, "keep": 2,
}  # fmt: skip


REPLACE = "/usr/local/lib/hubstead/users-image replace /opt/image hubstead/singleuser:new"
NOTE = files.File("hubstead/singleuser:new\n").as_state()


def built(
    *tags: str, used: frozenset[str] = frozenset(), note: files.PathState | None = NOTE
) -> list[str]:
    paths = {} if note is None else {"/opt/image/image": note}
    return lines(docker.built, {Images: ImagesState(tags, used), files.Paths: paths}, **BUILD)


def test_an_image_is_built_from_its_context_alone() -> None:
    sent = built(note=None)
    removed = "flock /opt/image.lock rm -rf -- /opt/image.new"
    assert sent[0] == f"umask 022; mkdir -p -- /opt && {removed}"
    assert [line for line in sent[1:] if line.startswith("umask")] == [
        f"umask 022; mkdir -p -- /opt/image.new{below}" for below in ("", "/certificates")
    ]
    assert sum("base64.b64decode" in line for line in sent) == len(CONTEXT) + 1
    assert sent[-1] == REPLACE


def test_a_built_image_is_left_alone() -> None:
    assert built("new", "old") == []


def test_a_build_that_was_cut_goes_on_with_its_context() -> None:
    assert built("old") == ["/usr/local/lib/hubstead/users-image build /opt/image"]


def test_the_context_is_that_of_the_image_in_use() -> None:
    """Back at an earlier setting, the timer builds from this context and names it so."""
    other = files.File("hubstead/singleuser:old\n").as_state()
    sent = built("new", "old", note=other)
    assert sent[-1] == REPLACE


def test_superfluous_images_go() -> None:
    assert built("new", "old", "older", "oldest") == [
        f"docker image rm hubstead/singleuser:{tag} >/dev/null" for tag in ("older", "oldest")
    ]


def test_an_image_of_a_container_stays() -> None:
    """Docker refuses to remove it, and so the run once failed, again and again."""
    used = frozenset({"hubstead/singleuser:older"})
    assert built("new", "old", "older", "oldest", used=used) == [
        "docker image rm hubstead/singleuser:oldest >/dev/null"
    ]


def test_what_holds_an_image_lets_go_of_it() -> None:
    state = ImagesState(("new", "old", "older"), held="hubstead/singleuser:older")
    facts = {Images: state, files.Paths: {"/opt/image/image": NOTE}}
    assert lines(docker.built, facts, **BUILD) == [
        "docker rm --force hubstead-holder >/dev/null",
        "docker image rm hubstead/singleuser:older >/dev/null",
    ]


def test_the_tag_tells_contexts_apart() -> None:
    tag = docker.context_tag(CONTEXT)
    assert docker.context_tag(dict(reversed(CONTEXT.items()))) == tag
    assert docker.context_tag(CONTEXT | {"Dockerfile": files.File("FROM other\n")}) != tag
    assert docker.context_tag({"Dockerfile": CONTEXT["Dockerfile"]}) != tag


def test_an_archive_is_imported_once(tmp_path: Path) -> None:
    archive = tmp_path / "trixie.tar"
    archive.write_bytes(b"a root file system")
    tag = docker.archive_tag(archive)
    arguments = {"repository": "hubstead/base", "archive": archive}
    upload, load = lines(docker.imported, {Images: ImagesState()}, **arguments)
    assert upload == f"UPLOAD {archive} /var/lib/hubstead/{tag}.tar"
    digest = hashlib.sha256(b"a root file system").hexdigest()
    assert load.startswith(
        f"echo '{digest}  /var/lib/hubstead/{tag}.tar' | sha256sum --check --quiet &&"
        f" docker import /var/lib/hubstead/{tag}.tar hubstead/base:{tag} >/dev/null;"
    )
    assert lines(docker.imported, {Images: ImagesState((tag,))}, **arguments) == []


@pytest.mark.parametrize("first", [True, False])
def test_a_daemon_json_of_an_earlier_version_is_settled_by_one_run(
    first: bool, tmp_path: Path
) -> None:
    """Of the first versions it lacked a key; with that, the second run took it for one of ours."""
    path = tmp_path / "daemon.json"
    former: dict[str, Any] = {
        "live-restore": True,
        "userland-proxy": False,
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
    }
    ours = {"exec-opts": ["native.cgroupdriver=systemd"], "live-restore": True}
    path.write_text(json.dumps(former if first else former | ours))

    def run(script: str) -> str:
        words = [sys.executable, "-I", "-S", "-c", docker_daemon._READ + script, str(path)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    assert json.loads(run(docker_daemon._LOOK))["whole"] is False
    run(docker_daemon._MERGE)
    assert json.loads(path.read_text()) == ours
    assert json.loads(run(docker_daemon._LOOK))["whole"] is True
