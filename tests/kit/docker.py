"""What the Hub wants of Docker, and a Docker that notes what it is asked."""

from __future__ import annotations

import copy
import json
from typing import Any

from programs.docker_filter import Answer, Policy, Request

IMAGE = "hubstead/singleuser:7cd3b8675f0e"
NAME = "hubstead-ada--"
ID = "0c1bed64a9a5b565752a547bf7cb67583adc893d784059502e83770ca39041b5"
CREATE = f"/v1.45/containers/create?name={NAME}"


class Roomy(Policy):
    """As if everybody had files, of one uid."""

    def user(self, owner: str) -> str:
        return f"70001:{self.gid}"


POLICY = Roomy(
    repository="hubstead/singleuser",
    network="hubstead",
    files="/srv/hubstead/files",
    home="/home/jovyan",
    shared=[],
    uids=(70000, 79999),
    gid=59000,
    memory=2 << 30,
    cpus=1.5,
    processes=512,
    host_config={"OomScoreAdj": 500},
)
#: Captured: DockerSpawner 14.0.0 through docker-py 7.2.0
WANTED: dict[str, Any] = {
    "ExposedPorts": {"8888/tcp": None}, "Tty": False, "OpenStdin": False, "StdinOnce": False,
    "AttachStdin": False, "AttachStdout": True, "AttachStderr": True, "Env": ["JPY=1", "x=é"],
    "Cmd": ["/opt/jupyter/bin/python", "-s", "-m", "jupyterhub.singleuser"], "Image": IMAGE,
    "Volumes": {"/home/jovyan": {}}, "NetworkDisabled": False,
    "HostConfig": {
        "Memory": 2147483648, "NetworkMode": "hubstead", "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"], "Binds": ["/srv/hubstead/files/ada:/home/jovyan:rw"],
        "Links": [], "CpuQuota": 150000, "CpuPeriod": 100000, "PidsLimit": 512,
        "AutoRemove": True, "Init": True, "Mounts": [],
    },
}  # fmt: skip
#: Shortened to what is read
NETWORK: dict[str, Any] = {
    "IPAM": {"Config": [{"Subnet": "172.30.0.0/29"}]},
    "Containers": {ID: {"IPv4Address": "172.30.0.4/29"}, "2": {"IPv4Address": "172.30.0.5/29"}},
}
#: The one that is left in the upper half
ADDRESS = "172.30.0.6"
OURS: dict[str, Any] = {
    "Id": ID,
    "Name": f"/{NAME}",
    "Config": {"Image": IMAGE},
    "HostConfig": {"NetworkMode": "hubstead"},
}


class Docker:
    """Docker with one container: what it was asked, and its answers."""

    def __init__(self, container: dict[str, Any] | None = None) -> None:
        self.container = container
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        if request.target.endswith("/json") and "/containers/" in request.target:
            if self.container is None:
                return Answer.says(404, "No such container")
            return Answer(200, json.dumps(self.container).encode())
        if request.target.endswith("/networks/hubstead"):
            return Answer(200, json.dumps(NETWORK).encode())
        return Answer(204 if request.method == "POST" else 200, b"")


def changed(path: str, value: object) -> dict[str, Any]:
    """The request of the spawner with another value; without the key for None."""
    body = copy.deepcopy(WANTED)
    *way, key = path.split(".")
    place = body
    for step in way:
        place = place[step]
    if value is None:
        del place[key]
    else:
        place[key] = value
    return body
