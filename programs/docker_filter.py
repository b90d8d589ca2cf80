#!/usr/bin/python3 -I
"""Written by Hubstead: passes to Docker what the Hub asks for people's servers, and nothing else.

    docker-filter POLICY   answers on the socket that systemd hands over (sd_listen_fds(3))

Who can ask Docker for anything is root. Here nothing is passed on as it came: a request is one of
`CALLS` to the letter, else it is refused. A new container is described anew, from what was checked.
POLICY is a JSON document, `Policy` says what is in it.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

DOCKER = "/run/docker.sock"
#: Of a request: its head and its body in bytes, the seconds in which it has to be here
HEAD, BODY, PATIENCE = 16 << 10, 128 << 10, 10
#: Of Docker: bytes of an answer, and seconds for it; a stop may take its time
ANSWER, DOCKERS_PATIENCE = 1 << 20, 180
#: Requests at a time; more of them wait
REQUESTS = 32

#: As DockerSpawner escapes names (escapism, with "-"), so that "--" is between two of them alone
_ESCAPED = r"(?:[a-z0-9]|-[0-9a-f]{2})"
_NAME = rf"hubstead-(?P<owner>{_ESCAPED}+)--{_ESCAPED}*"
_CONTAINER = rf"/containers/(?P<container>{_NAME}|[0-9a-f]{{64}})"


class RefusedError(Exception):
    """What is asked for is not passed on; `status` is the answer's."""

    def __init__(self, reason: str, status: int = 403) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Group:
    """People with limits of their own, and a folder.

    + members, teachers: owners, as they are in names of servers; who teaches is a member, too.
    + anybody, anybody_teaches: others may be in it, too, which the Hub alone knows.
    + memory, cpus: of a server, in bytes and cores; None for what everybody has.
    + folder, place: on the host and in servers; None for none.
    """

    members: list[str]
    teachers: list[str]
    anybody: bool
    anybody_teaches: bool
    memory: int | None
    cpus: float | None
    folder: str | None
    place: str

    def may_have(self, owner: str) -> bool:
        return self.anybody or owner in self.members

    def may_be_taught_by(self, owner: str) -> bool:
        return self.anybody_teaches or owner in self.teachers

    def binds(self, owner: str) -> list[str]:
        """How the folder may be in a server, as Docker's API calls it."""
        if not self.folder or not self.may_have(owner):
            return []
        modes = ["ro", "rw"] if self.may_be_taught_by(owner) else ["ro"]
        return [f"{self.folder}:{self.place}:{mode}" for mode in modes]


@dataclass(frozen=True)
class Profile:
    """What people may start: those of one of the groups, or everybody where there are none."""

    groups: list[str]
    memory: int | None
    cpus: float | None


@dataclass(frozen=True)
class Policy:
    """What a person's server may be.

    + repository: of its image; a build on this host tags it with 12 hexadecimal digits.
    + images: others that it may have, as the owner names them.
    + network: the users' network.
    + files, home: its files are in the directory `files`/OWNER, and mounted at `home`.
    + shared: what everybody's server has beside that, each as Docker's API calls a bind.
    + uids, gid: it runs as the uid of that directory, which is one from the first to the last of
      these, and as this gid.
    + memory, cpus, processes: bytes, cores, and processes with threads, at the most, of who has no
      other limits by `groups` or `profiles`.
    + host_config: what the filter adds, as Docker's API calls it.
    """

    repository: str
    network: str
    files: str
    home: str
    shared: list[str]
    uids: tuple[int, int]
    gid: int
    memory: int
    cpus: float
    processes: int
    host_config: dict[str, Any]
    images: list[str] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    profiles: list[Profile] = field(default_factory=list)

    @classmethod
    def read(cls, document: dict[str, Any]) -> Policy:
        """Of what is in the file."""
        groups = {name: Group(**each) for name, each in document.get("groups", {}).items()}
        profiles = [Profile(**each) for each in document.get("profiles", ())]
        uids = tuple(document["uids"])
        return cls(**{**document, "uids": uids, "groups": groups, "profiles": profiles})

    def memory_of(self, owner: str) -> int:
        """Bytes that somebody's server has at the most."""
        return int(self._most(owner, self.memory, lambda each: each.memory))

    def cpus_of(self, owner: str) -> float:
        """Cores that somebody's server has at the most."""
        return self._most(owner, self.cpus, lambda each: each.cpus)

    def _most(
        self, owner: str, general: float, of: Callable[[Group | Profile], float | None]
    ) -> float:
        """The largest of what the person may have; the general limit is for who has none else."""
        has = {name: group for name, group in self.groups.items() if group.may_have(owner)}
        surely = [of(group) for group in has.values() if owner in group.members]
        perhaps = [of(group) for group in has.values() if owner not in group.members]
        perhaps += [
            of(profile)
            for profile in self.profiles
            if not profile.groups or has.keys() & set(profile.groups)
        ]
        least = max((each for each in surely if each), default=general)
        return max([least, *(each for each in perhaps if each)])

    def binds(self, owner: str) -> _Rule:
        """What of the host's a server has: its owner's files, what all share, folders of groups."""
        always = [f"{self.files}/{owner}:{self.home}:rw", *self.shared]
        folders = [bind for group in self.groups.values() for bind in group.binds(owner)]

        def fit(value: object) -> bool:
            if not _texts(value) or not isinstance(value, list):
                return False
            once = len({_target(bind) for bind in value}) == len(value)
            return once and set(always) <= set(value) <= {*always, *folders}

        may = f", and of {json.dumps(folders)} what the owner has" if folders else ""
        return fit, f"{json.dumps(always)}{may}"

    def check_folders(self, binds: list[str]) -> None:
        """Raise RefusedError for a folder that is not there: Docker would make one."""
        given = {bind.rpartition(":")[0] for bind in binds}
        for name, group in self.groups.items():
            if f"{group.folder}:{group.place}" in given and not Path(str(group.folder)).is_dir():
                raise RefusedError(f"the folder of the group {name} is not there: {group.folder}")

    def is_image(self, image: object) -> bool:
        pattern = rf"{re.escape(self.repository)}:[0-9a-f]{{12}}"
        if not isinstance(image, str):
            return False
        return image in self.images or bool(re.fullmatch(pattern, image, re.ASCII))

    def user(self, owner: str) -> str:
        """Whom a server runs as. Raises RefusedError where its owner has no files."""
        try:
            uid = Path(self.files, owner).stat().st_uid
        except OSError as error:
            raise RefusedError(f"there are no files for the server: {error}") from error
        first, last = self.uids
        if not first <= uid <= last:
            raise RefusedError(f"{self.files}/{owner} does not belong to a person")
        return f"{uid}:{self.gid}"

    def is_ours(self, container: dict[str, Any]) -> bool:
        """Whether Docker describes a person's server, perhaps one from before this filter."""
        return (
            bool(re.fullmatch(_NAME, container["Name"].removeprefix("/"), re.ASCII))
            and self.is_image(container["Config"]["Image"])
            and container["HostConfig"]["NetworkMode"] == self.network
        )


def read_json(text: bytes) -> dict[str, Any]:
    """A JSON object. Raises RefusedError for what two readers could read in two ways."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise RefusedError("the body has a key twice", 400)
        return found

    try:
        document = json.loads(text.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise RefusedError("the body is not JSON in UTF-8", 400) from error
    if not isinstance(document, dict):
        raise RefusedError("the body is no JSON object", 400)
    return document


#: Which values will do, and in words
_Rule = tuple[Callable[[Any], bool], str]


def _one_of(*wanted: object) -> _Rule:
    # of the same kind, too: in Python 1 is True
    kinds = {type(each) for each in wanted}
    words = " or ".join(map(json.dumps, wanted))
    return lambda value: type(value) in kinds and value in wanted, words


def _up_to(limit: int) -> _Rule:
    return lambda value: type(value) is int and 0 < value <= limit, f"a number from 1 to {limit}"


def _target(bind: str) -> str:
    """Where in a server it is, of a bind as Docker's API has it."""
    return bind.split(":")[1] if ":" in bind else bind


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _checked(
    where: str, given: dict[str, Any], rules: dict[str, _Rule], optional: set[str]
) -> dict[str, Any]:
    """What is given, when each key is known and has a value that will do.

    + optional: the keys that may be missing.
    """
    # to the letter: Docker reads `privileged` as well as `Privileged` (Go's encoding/json)
    for key, value in given.items():
        if key not in rules:
            raise RefusedError(f"{where}{key} is nothing that a person's server may have")
        fits, words = rules[key]
        if not fits(value):
            raise RefusedError(f"{where}{key} has to be {words}")
    if missing := rules.keys() - optional - given.keys():
        raise RefusedError(f"{where}{min(missing)} is missing")
    return given


def _host_config(policy: Policy, owner: str, given: dict[str, Any]) -> dict[str, Any]:
    period = _up_to(1_000_000)
    cpus = policy.cpus_of(owner)
    quota = int(cpus * given["CpuPeriod"]) if period[0](given.get("CpuPeriod")) else 0
    optional = {
        "AutoRemove": _one_of(True, False),
        "Init": _one_of(True),
        "Links": _one_of([]),
        "Mounts": _one_of([]),
    }
    rules = optional | {
        "NetworkMode": _one_of(policy.network),
        "Binds": policy.binds(owner),
        "CapDrop": _one_of(["ALL"]),
        "SecurityOpt": _one_of(["no-new-privileges"]),
        "Memory": _up_to(policy.memory_of(owner)),
        "CpuPeriod": period,
        "CpuQuota": _up_to(quota),
        "PidsLimit": _up_to(policy.processes),
    }
    checked = _checked("HostConfig.", given, rules, set(optional))
    return checked | {"Init": True} | policy.host_config


def description(policy: Policy, owner: str, given: dict[str, Any]) -> dict[str, Any]:
    """What Docker is asked to make, from what the Hub wants. Raises RefusedError."""
    optional = {
        "ExposedPorts": _one_of({"8888/tcp": None}),
        # what is mounted, which is looked at below
        "Volumes": (lambda value: isinstance(value, dict), "an object"),
        **dict.fromkeys(("AttachStdout", "AttachStderr"), _one_of(True, False)),
        **dict.fromkeys(
            ("AttachStdin", "OpenStdin", "StdinOnce", "Tty", "NetworkDisabled"), _one_of(False)
        ),
    }
    rules = optional | {
        "Image": (policy.is_image, f"{policy.repository} with the tag of a build, or allowed"),
        "Env": (_texts, "a list of texts"),
        "Cmd": (_texts, "a list of texts"),
        "HostConfig": (lambda value: isinstance(value, dict), "an object"),
    }
    checked = _checked("", given, rules, set(optional))
    host_config = _host_config(policy, owner, checked["HostConfig"])
    places: dict[str, object] = {_target(bind): {} for bind in host_config["Binds"]}
    _checked("", {"Volumes": checked.get("Volumes", places)}, {"Volumes": _one_of(places)}, set())
    policy.check_folders(host_config["Binds"])
    return checked | {"User": policy.user(owner), "HostConfig": host_config}


def free_address(network: dict[str, Any]) -> str | None:
    """One for a new server, at random from the upper half of a network as Docker describes it.

    Docker itself gives the lowest that is free: that of a server which has just ended by itself, to
    which the proxy leads its owner's browser until the Hub has noticed. None where no free one is
    found.
    """
    (subnet,) = (ipaddress.IPv4Network(each["Subnet"]) for each in network["IPAM"]["Config"])
    used = {each["IPv4Address"].partition("/")[0] for each in network["Containers"].values()}
    half = subnet.num_addresses // 2
    for _ in range(100):
        # the last one is for all (RFC 919)
        address = str(subnet[half + secrets.randbelow(half - 1)])
        if address not in used:
            return address
    return None


@dataclass(frozen=True)
class Request:
    """A request that came whole."""

    method: str
    target: str
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""

    @classmethod
    def says(cls, status: int, message: str) -> Answer:
        """As Docker words its errors, so that its clients show the reason."""
        return cls(status, json.dumps({"message": message}).encode())


Ask = Callable[[Request], Answer]


class _Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(DOCKER)


def ask_docker(request: Request) -> Answer:
    """Docker's answer to a request of ours. Raises RefusedError where there is none."""
    connection = _Unix("localhost", timeout=DOCKERS_PATIENCE)
    headers = {"Content-Type": "application/json"} if request.body else {}
    try:
        with contextlib.closing(connection):
            connection.request(request.method, request.target, request.body or None, headers)
            answer = connection.getresponse()
            body = answer.read(ANSWER + 1)
    except (OSError, http.client.HTTPException) as error:
        raise RefusedError(
            f"Docker does not answer: {error}; see journalctl -u docker", 503
        ) from error
    if len(body) > ANSWER:
        raise RefusedError("Docker's answer is too long", 503)
    return Answer(answer.status, body)


class Filter:
    """What the Hub may call: DockerSpawner 14 through docker-py 7."""

    def __init__(self, policy: Policy, ask: Ask = ask_docker) -> None:
        self.policy, self.ask = policy, ask

    def answer(self, request: Request) -> Answer:
        """The answer to a request. Raises RefusedError."""
        for method, target, call in CALLS:
            found = re.fullmatch(_VERSION + target, request.target, re.ASCII)
            if method != request.method or not found:
                continue
            if request.body and call is not Filter.create:
                raise RefusedError("this call has no body")
            return call(self, request, found)
        raise RefusedError("it is no call that the Hub needs for people's servers")

    def look(self, request: Request, found: re.Match[str]) -> Answer:
        return self.ask(request)

    def image(self, request: Request, found: re.Match[str]) -> Answer:
        # docker-py writes nothing else of a name like this
        if not self.policy.is_image(found["image"].replace("%40", "@")):
            raise RefusedError("it is not the image of people's servers")
        return self.ask(request)

    def create(self, request: Request, found: re.Match[str]) -> Answer:
        wanted = description(self.policy, found["owner"], read_json(request.body))
        network = self.ask(
            Request("GET", f"{found['version']}/networks/{self.policy.network}", b"")
        )
        address = free_address(json.loads(network.body)) if network.status == 200 else None
        if address:
            place = {self.policy.network: {"IPAMConfig": {"IPv4Address": address}}}
            wanted["NetworkingConfig"] = {"EndpointsConfig": place}
        return self.ask(Request("POST", request.target, json.dumps(wanted).encode()))

    def inspect(self, request: Request, found: re.Match[str]) -> Answer:
        """How Docker describes a container, where that is a person's server."""
        target = f"{found['version']}/containers/{found['container']}/json"
        shown = self.ask(Request("GET", target, b""))
        if shown.status == 200 and not self.policy.is_ours(json.loads(shown.body)):
            raise RefusedError("the container is no person's server")
        return shown

    def change(self, request: Request, found: re.Match[str]) -> Answer:
        """Start, stop or remove."""
        shown = self.inspect(request, found)
        if shown.status != 200:
            return shown
        # by its identity: another container may have the name by now
        identity = json.loads(shown.body)["Id"]
        target = request.target.replace(found["container"], identity, 1)
        return self.ask(Request(request.method, target, b""))


#: From Docker 20.10 on
_VERSION = r"(?P<version>(?:/v1\.(?:4[1-9]|[5-9][0-9]))?)"
#: Method and target to the letter: with nothing decoded, and each parameter in its place
CALLS = (
    ("GET", "/version", Filter.look),
    ("GET", "/images/(?P<image>[A-Za-z0-9/:._-]+(?:%40[a-z0-9:]+)?)/json", Filter.image),
    ("POST", rf"/containers/create\?name={_NAME}", Filter.create),
    ("GET", rf"{_CONTAINER}/json", Filter.inspect),
    ("POST", rf"{_CONTAINER}/(?:start|stop)", Filter.change),
    ("DELETE", rf"{_CONTAINER}\?v=True&link=False&force=False", Filter.change),
)

_LINE = re.compile(r"([A-Z]+) (/[!-~]*) HTTP/1\.1", re.ASCII)
_HEADER = re.compile(r"([A-Za-z0-9-]+):[ \t]*([ -~]*)", re.ASCII)
#: What would make of this connection another, or of its bytes another request
_REFUSED = {"transfer-encoding", "upgrade", "expect", "trailer", "te", "content-encoding"}


def read_head(text: bytes) -> tuple[str, str, int]:
    """Method, target and the length of the body. Raises RefusedError (RFC 9112, 3, 5 and 6)."""
    try:
        first, *lines = text.decode("ascii").split("\r\n")
    except UnicodeDecodeError as error:
        raise RefusedError("the head is not ASCII", 400) from error
    line = _LINE.fullmatch(first)
    if not line:
        raise RefusedError("the first line is not METHOD /TARGET HTTP/1.1", 400)
    headers: dict[str, str] = {}
    for each in lines:
        header = _HEADER.fullmatch(each)
        if not header or header[1].lower() in headers:
            raise RefusedError("a header is twice there, or unreadable", 400)
        headers[header[1].lower()] = header[2].strip()
    if unwanted := _REFUSED & headers.keys():
        raise RefusedError(f"the header {min(unwanted)} is not read here", 400)
    if headers.get("connection", "close").lower() not in ("close", "keep-alive"):
        raise RefusedError("the connection is for requests alone", 400)
    length = headers.get("content-length", "0")
    if not re.fullmatch("[0-9]{1,9}", length, re.ASCII) or int(length) > BODY:
        raise RefusedError(f"the length of the body is no number up to {BODY}", 400)
    return line[1], line[2], int(length)


def receive(connection: socket.socket) -> Request:
    """The one request of a connection: what comes after it is never read.

    Raises RefusedError, or TimeoutError where it does not come in time.
    """
    deadline = time.monotonic() + PATIENCE

    def more(size: int) -> bytes:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(size)
        if not data or time.monotonic() > deadline:
            raise TimeoutError
        return data

    text = b""
    while b"\r\n\r\n" not in text:
        if len(text) > HEAD:
            raise RefusedError("the head is too long", 400)
        text += more(HEAD)
    head, _, body = text.partition(b"\r\n\r\n")
    method, target, length = read_head(head)
    while len(body) < length:
        body += more(length - len(body))
    return Request(method, target, body[:length])


def send(connection: socket.socket, answer: Answer) -> None:
    reason = http.client.responses.get(answer.status, "Unknown")
    head = f"HTTP/1.1 {answer.status} {reason}\r\nConnection: close\r\n"
    if answer.body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(answer.body)}\r\n"
    connection.settimeout(PATIENCE)
    connection.sendall(f"{head}\r\n".encode() + answer.body)


def handle(policing: Filter, connection: socket.socket) -> None:
    """Answer one connection, and end it."""
    asked = "a request"
    # slow, or gone
    with contextlib.suppress(OSError), connection:
        try:
            request = receive(connection)
            asked = f"{request.method} {request.target}"
            answer = policing.answer(request)
        except RefusedError as error:
            # a warning in the journal (sd-daemon(3)), without what a request has of secrets
            line = ascii(f"refused {asked[:200]}: {str(error)[:300]}")[1:-1]
            print(f"<4>{line}", file=sys.stderr, flush=True)
            answer = Answer.says(error.status, f"Hubstead's filter before Docker: {error}")
        send(connection, answer)


def serve(listener: socket.socket, policing: Filter) -> NoReturn:
    """Answer each connection in a thread of its own, so many at a time."""
    slots = threading.BoundedSemaphore(REQUESTS)

    def one(connection: socket.socket) -> None:
        try:
            handle(policing, connection)
        finally:
            slots.release()

    while True:
        slots.acquire()
        connection, _ = listener.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


def main() -> NoReturn:
    policy = Policy.read(json.loads(Path(sys.argv[1]).read_text()))
    # the first of the descriptors that systemd hands over
    with socket.socket(fileno=3) as listener:
        serve(listener, Filter(policy))


if __name__ == "__main__":
    main()
