"""The Hub's user turns on its host: the filter before Docker is all that it can ask."""

from __future__ import annotations

import base64
import copy
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.kit.hub_client import patiently
from tests.kit.service import PASSWORD, Service, container
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

SOCKET = "/run/hubstead-docker-filter.sock"
UNITS = "hubstead-docker-filter.socket hubstead-docker-filter.service"
AS_HUB = "setpriv --reuid=jupyterhub --regid=jupyterhub --init-groups"
SECRET = "of-the-owners-blog"

# Sends each line of its input (base64) over a connection of its own, prints what came back so.
_ASK = """
import base64, socket, sys
for line in sys.stdin:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        answer = b""
        try:
            connection.connect(sys.argv[1])
            connection.sendall(base64.b64decode(line))
            while data := connection.recv(65536):
                answer += data
        except OSError as error:
            answer = answer or repr(error).encode()
    print(base64.b64encode(answer).decode())
"""


def request(method: str, target: str, body: object = None, *headers: str) -> bytes:
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {target} HTTP/1.1", "Host: docker", f"Content-Length: {len(text)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + text


@dataclass
class Hub:
    """What runs as the Hub's user, with the groups that it has."""

    service: Service
    image: str

    def run(self, script: str, *arguments: str, input: str | None = None) -> str:
        command = shlex.join(["python3", "-c", script, *arguments])
        return self.service.sudo(f"{AS_HUB} {command}", input=input)

    def ask(self, *requests: bytes, socket: str = SOCKET) -> list[str]:
        """The answers, as they came."""
        lines = "".join(f"{base64.b64encode(each).decode()}\n" for each in requests)
        answers = self.run(_ASK, socket, input=lines).splitlines()
        return [base64.b64decode(each).decode() for each in answers]

    def wanted(self, owner: str) -> dict[str, Any]:
        """What the spawner asks for."""
        return {
            "Image": self.image,
            "Env": [],
            "Cmd": ["sleep", "infinity"],
            "HostConfig": {
                "Memory": 1 << 30, "NetworkMode": "hubstead", "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Binds": [f"/srv/hubstead/files/{owner}:/home/jovyan:rw"],
                "CpuQuota": 100000, "CpuPeriod": 100000, "PidsLimit": 100,
            },
        }  # fmt: skip

    def create(self, owner: str = "eve", **host_config: object) -> bytes:
        """The spawner's request with other values in HostConfig."""
        body = copy.deepcopy(self.wanted(owner))
        body["HostConfig"] |= host_config
        return self.describe("eve", body)

    def describe(self, owner: str, body: object) -> bytes:
        return request("POST", f"/v1.41/containers/create?name={container(owner)}", body)

    def altered(self, **values: object) -> bytes:
        """The spawner's request with other values beside HostConfig."""
        return self.describe("eve", self.wanted("eve") | values)


@pytest.fixture(scope="module")
def hub(service: Service) -> Hub:
    return Hub(service, service.sudo("cat /opt/hubstead/singleuser/image").strip())


@pytest.fixture(scope="module")
def owners(service: Service, hub: Hub) -> Iterator[dict[str, str]]:
    """Containers of the owner's, by name: one has a name that looks like a person's."""
    base = service.sudo("docker image ls --format '{{.Repository}}:{{.Tag}}' hubstead/base")
    names = {"blog": hub.image, "hubstead-blog--": base.split()[0]}
    ids = {
        name: service.sudo(
            f"docker run --detach --name {name} --env SECRET={SECRET} --volume blog:/srv"
            f" {image} sleep infinity"
        ).strip()
        for name, image in names.items()
    }
    yield ids
    service.sudo(f"docker rm --force {' '.join(names)}; docker volume rm blog")


def state(service: Service) -> str:
    """All that Docker has, and since when it runs."""
    return service.sudo(
        "docker ps --all --no-trunc --format '{{.ID}} {{.Names}}' | sort; docker volume ls -q;"
        "docker network inspect hubstead bridge --format '{{json .Containers}}';"
        "docker image ls --no-trunc -q | sort;"
        "docker inspect --format '{{.State.StartedAt}} {{.State.Running}}' $(docker ps -aq)"
    )


def check_refused(service: Service, hub: Hub, attacks: dict[str, bytes]) -> None:
    """Each is refused with the reason, has its line in the journal, and does nothing."""
    before = state(service)
    service.sudo("journalctl --sync")
    since = service.sudo("date +%s.%N").strip()
    answers = dict(zip(attacks, hub.ask(*attacks.values()), strict=True))
    for name, answer in answers.items():
        head, _, body = answer.partition("\r\n\r\n")
        assert head.startswith(("HTTP/1.1 403 ", "HTTP/1.1 400 ")), (name, answer)
        assert len(json.loads(body)["message"]) > 40, name
        assert SECRET not in answer
    assert state(service) == before
    service.sudo("journalctl --sync")
    journal = f"journalctl -u hubstead-docker-filter -o cat --since=@{since} --priority=warning"
    lines = service.sudo(journal).splitlines()
    assert len([line for line in lines if line.startswith("refused ")]) == len(attacks), lines


def test_docker_itself_is_out_of_reach(service: Service, hub: Hub) -> None:
    process = "/proc/$(systemctl show --value --property MainPID jupyterhub)/status"
    groups = service.sudo(f"sed -n 's/^Groups:[[:space:]]*//p' {process}").split()
    assert groups == service.sudo("id -G jupyterhub").split()
    docker = service.sudo("getent group docker").split(":")[2]
    assert docker not in groups
    for socket in ("/run/docker.sock", "/run/containerd/containerd.sock"):
        (answer,) = hub.ask(request("GET", "/version"), socket=socket)
        assert answer.startswith("PermissionError"), answer


def test_nobody_but_the_hub_asks_the_filter(service: Service, hub: Hub) -> None:
    line = base64.b64encode(request("GET", "/version")).decode()
    asked = service.stranger(shlex.join(["python3", "-c", _ASK, SOCKET]), input=f"{line}\n")
    assert base64.b64decode(asked).startswith(b"PermissionError")
    (answer,) = hub.ask(request("GET", "/version"))
    assert answer.startswith("HTTP/1.1 200 OK")


def test_no_container_is_more_than_a_persons_server(
    service: Service, hub: Hub, owners: dict[str, str]
) -> None:
    service.person("ada")
    twice = json.dumps(hub.wanted("eve")).replace(
        '"NetworkMode": "hubstead"', '"NetworkMode": "hubstead", "NetworkMode": "host"'
    )
    check_refused(
        service,
        hub,
        {
            "the host's files": hub.create(Binds=["/:/home/jovyan:rw"]),
            "the host's files, too": hub.create(
                Binds=["/srv/hubstead/files/eve:/home/jovyan:rw", "/:/mnt"]
            ),
            "as a mount": hub.create(Mounts=[{"Type": "bind", "Source": "/", "Target": "/mnt"}]),
            "Docker's socket": hub.create(Binds=["/run/docker.sock:/home/jovyan:rw"]),
            "privileged": hub.create(Privileged=True),
            "a device": hub.create(Devices=[{"PathOnHost": "/dev/sda", "PathInContainer": "/d"}]),
            "the host's network": hub.create(NetworkMode="host"),
            "another's network": hub.create(NetworkMode=f"container:{owners['blog']}"),
            "another network": hub.create(NetworkMode="bridge"),
            "the host's processes": hub.create(PidMode="host"),
            "the host's memory": hub.create(IpcMode="host"),
            "a capability": hub.create(CapAdd=["SYS_ADMIN"]),
            "all capabilities": hub.create(CapDrop=[]),
            "new privileges": hub.create(SecurityOpt=[]),
            "any system call": hub.create(SecurityOpt=["seccomp=unconfined"]),
            "much memory": hub.create(Memory=1 << 40),
            "all memory": hub.create(Memory=0),
            "many processors": hub.create(CpuQuota=100_000_000),
            "many processes": hub.create(PidsLimit=-1),
            "ada's files": hub.create(owner="ada"),
            "the owner's files": hub.create(Binds=["blog:/home/jovyan:rw"]),
            "a port of the host": hub.create(PortBindings={"8888/tcp": [{"HostPort": "8080"}]}),
            "another case": hub.create(privileged=True),
            "another case of it all": hub.altered(hostconfig={"Privileged": True}),
            "another image": hub.altered(Image="debian:trixie"),
            "the base image": hub.altered(
                Image=service.sudo(f"docker inspect -f '{{{{.Config.Image}}}}' {container('blog')}")
            ),
            "root": hub.altered(User="root"),
            "a key twice": hub.describe("eve", twice.encode()),
            "another networking": hub.altered(NetworkingConfig={"EndpointsConfig": {"host": {}}}),
        },
    )


def test_nothing_of_the_owners_is_touched_or_shown(
    service: Service, hub: Hub, owners: dict[str, str]
) -> None:
    service.person("ada")
    ada, remove = container("ada"), "?v=True&link=False&force=False"
    attacks = {
        "exec into ada's": request("POST", f"/containers/{ada}/exec", {"Cmd": ["id"]}),
        "attach to ada's": request(
            "POST", f"/containers/{ada}/attach?stream=1&stdin=1", None,
            "Upgrade: tcp", "Connection: Upgrade",
        ),
        "files of ada's": request("GET", f"/containers/{ada}/archive?path=/home/jovyan"),
        "an image of ada's": request("POST", f"/commit?container={ada}"),
        "more for ada's": request("POST", f"/containers/{ada}/update", {"Memory": 0}),
        "ada's volume": request("DELETE", "/volumes/hubstead-user-ada"),
        "the owner's volume": request("DELETE", "/volumes/blog?force=1"),
        "all containers": request("GET", "/v1.41/containers/json?all=1"),
        "what happens": request("GET", "/events"),
        "a build": request("POST", "/build?remote=https://example.org", b"FROM scratch"),
        "a swarm": request("POST", "/swarm/init", {"ListenAddr": "0.0.0.0"}),
        "a plugin": request("POST", "/plugins/pull?remote=x", []),
        "another network": request("POST", "/networks/bridge/connect", {"Container": ada}),
        "a way round": request("GET", "/v1.41/containers/hubstead-ada--/../blog/json"),
        "in code": request("GET", "/containers/%62log/json"),
        "doubled": request("GET", "//containers/blog/json"),
        "an old Docker": request("GET", f"/v1.24/containers/{ada}/json"),
    }  # fmt: skip
    for name in ("blog", owners["blog"], owners["hubstead-blog--"], "hubstead-blog--"):
        attacks |= {
            f"show {name}": request("GET", f"/v1.41/containers/{name}/json"),
            f"start {name}": request("POST", f"/v1.41/containers/{name}/start"),
            f"stop {name}": request("POST", f"/v1.41/containers/{name}/stop"),
            f"remove {name}": request("DELETE", f"/v1.41/containers/{name}{remove}"),
        }
    check_refused(service, hub, attacks)


def test_no_request_hides_in_another(service: Service, hub: Hub, owners: dict[str, str]) -> None:
    hidden = request("POST", f"/containers/{owners['blog']}/stop")
    chunked = b"0\r\n\r\n" + hidden
    check_refused(
        service,
        hub,
        {
            "chunks": request("GET", "/version", chunked, "Transfer-Encoding: chunked"),
            "chunks, oddly": request("GET", "/version", chunked, "Transfer-Encoding : chunked"),
            "two lengths": request("GET", "/version", hidden, "Content-Length: 0"),
            "a bare line feed": request("GET", "/version", hidden, "X: a\nTransfer-Encoding: x"),
            "another protocol": request("GET", "/version", None, "Upgrade: h2c"),
            "in a body": request("GET", "/version", hidden),
        },
    )
    # behind the end of a request that is passed
    before = state(service)
    (answer,) = hub.ask(request("GET", "/version") + hidden)
    assert answer.count("HTTP/1.1 ") == 1
    assert state(service) == before


def test_who_says_nothing_keeps_nobody_waiting_for_long(service: Service, hub: Hub) -> None:
    silent = """
import socket, sys, time
held = []
for _ in range(60):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(sys.argv[1])
    held[-1].send(b"GET /version HTTP/1.1\\r\\n")
print("connected", flush=True)
time.sleep(5)
"""
    assert hub.run(silent, SOCKET) == "connected\n"
    eventually("the filter answers", lambda: "200 OK" in hub.ask(request("GET", "/version"))[0])
    huge = request("POST", "/containers/create?name=hubstead-eve--", b" " * (8 << 20))
    hub.ask(huge)
    service.check_works()


def test_a_person_notices_nothing(service: Service) -> None:
    ada = service.person("ada")
    ada.notebook("kept.ipynb", "1 + 1")
    for _ in range(2):
        patiently(ada.stop_server)
        assert service.sudo(f"docker ps --all --quiet --filter name={container('ada')}") == ""
        ada.start_server()
        with ada.kernel() as kernel:
            assert kernel.run("print(6*7)") == "42\n"
    assert ada.cells("kept.ipynb") == ["1 + 1"]


def test_kernels_compute_while_the_filter_is_away(service: Service) -> None:
    ada = service.person("ada")
    bob = service.visitor("bob")
    bob.log_in(PASSWORD)
    bob.take_token()
    with ada.kernel() as kernel:
        kernel.run("memory = 'kept'")
        service.sudo("systemctl restart hubstead-docker-filter.service")
        bob.start_server()
        patiently(bob.stop_server)

        service.sudo(f"systemctl stop {UNITS}")
        try:
            answer = bob.request("POST", "/hub/api/users/bob/server", timeout=httpx.Timeout(180))
            page = bob.request("GET", "/hub/spawn-pending/bob")
            assert kernel.run("print(memory)") == "kept\n"
            words = service.sudo("journalctl -u jupyterhub -o cat --since=-3min")
        finally:
            service.sudo("systemctl start hubstead-docker-filter.socket")
        assert answer.status_code == 503
        assert "hubstead-docker-filter.socket or docker.service is not up" in words
        assert "hubstead-docker-filter.socket or docker.service is not up" in page.text
        bob.start_server()

        # a Hub that starts meanwhile has it, and finds the servers
        service.sudo(f"systemctl stop {UNITS}; systemctl restart jupyterhub")
        assert patiently(lambda: ada.api("GET", "/users/ada"))["servers"][""]["ready"]
        assert kernel.run("print(memory)") == "kept\n"
    service.check_works()


def test_the_next_run_takes_the_group_away_again(service: Service) -> None:
    """Also when somebody put the Hub's user back into it."""
    service.sudo("usermod --append --groups docker jupyterhub; systemctl restart jupyterhub")
    run = service.run("deploys/jupyterhub.py")
    assert run.status == 0, run.end
    assert run.changed == [
        "jupyterhub | Take the Hub's user out of the group docker", "jupyterhub | Run JupyterHub",
    ]  # fmt: skip
    process = "/proc/$(systemctl show --value --property MainPID jupyterhub)/status"
    groups = service.sudo(f"sed -n 's/^Groups:[[:space:]]*//p' {process}").split()
    assert service.sudo("getent group docker").split(":")[2] not in groups
    assert service.run("deploys/jupyterhub.py").changed == []
