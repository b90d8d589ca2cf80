#!/usr/bin/python3 -I
"""Written by Hubstead: starts and stops people's servers, which are units of systemd.

    people-servers POLICY     one request on standard input, one answer on standard output

The Hub asks, which is not root. POLICY is a JSON document, `Policy` says what is in it. A request
is one line, the answer another:

    {"start": NAME, "environment": {…}, "arguments": […]}    {"address": IP, "unit": UNIT}
    {"stop": NAME}                                           {}
    {"look": NAME}                                           {"runs": BOOL, "unit": UNIT or ""}
                                                             {"error": WORDS} instead of any

NAME is whose server it is, as it is in the path of their files. Whose uid the server has, what runs
in it and within which limits and walls stands in hubstead-server@.service and in POLICY: the Hub
has no say in that. It says what JupyterHub tells a server of itself, and what options of it are. It
may add to a start what only the Hub knows:

    "groups": […], "teaches": […]    groups that the provider says the person is in, or teaches
    "profile": NAME                  what the person chose to start
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NoReturn

NAME = re.compile(r"(?:[a-z0-9]|-[0-9a-f]{2})+", re.ASCII)
#: Nothing that a loader, a shell or Python listens to: what is in here is there before the program
#: that gives its rights away has begun
VARIABLE = re.compile(r"JUPYTERHUB_[A-Z0-9_]{1,80}|(?:MEM|CPU)_(?:LIMIT|GUARANTEE)", re.ASCII)
ARGUMENT = re.compile(r"--[A-Za-z]{1,80}\.[a-z_]{1,80}=[A-Za-z0-9_.:/@-]{0,200}", re.ASCII)
#: No line and nothing else that ends one in a file of variables (systemd.exec(5))
VALUE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,8000}")
#: Bytes of a request, and seconds in which it has to be here
LINE, PATIENCE = 64 << 10, 10
#: A directory for each uid whose server was started: `home`, a link; `passwd`
#: and `resolv.conf`, which are in its /etc; and for a moment `environment`
RUN = Path("/run/hubstead-servers")
UNIT = "hubstead-server@{}.service"
#: Where systemd finds what one unit has besides its template (systemd.unit(5)), until a reboot
DROP_INS = Path("/run/systemd/system")


class ServersError(Exception):
    """Why a server cannot be started or stopped; the person reads it."""


@dataclass(frozen=True)
class Group:
    """People with limits of their own, and a folder.

    + members, teachers: names as those of files; who teaches is a member, too.
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


@dataclass(frozen=True)
class Profile:
    """What people may start: those of one of the groups, or everybody where there are none."""

    groups: list[str]
    memory: int | None
    cpus: float | None


@dataclass(frozen=True)
class Wish:
    """What the Hub says of a person besides the name."""

    groups: frozenset[str] = frozenset()
    teaches: frozenset[str] = frozenset()
    profile: str | None = None


@dataclass(frozen=True)
class Policy:
    """Whose servers there may be, and what these have.

    + files: the directory of people's directories, of root.
    + uids: the first and the last that people's files belong to.
    + gid: of all of them.
    + home: where the files are in a server.
    + first: the address of the first uid's server; that of each other one is as much farther on.
    + groups, profiles: by name; who has none of them has what the unit says.
    """

    files: str
    uids: tuple[int, int]
    gid: int
    home: str
    first: str
    groups: dict[str, Group] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)

    @classmethod
    def read(cls, document: dict[str, Any]) -> Policy:
        """Of what is in the file."""
        groups = {name: Group(**each) for name, each in document.get("groups", {}).items()}
        profiles = {name: Profile(**each) for name, each in document.get("profiles", {}).items()}
        uids = tuple(document["uids"])
        return cls(**{**document, "uids": uids, "groups": groups, "profiles": profiles})

    def drop_in(self, name: str, wish: Wish) -> str:
        """What somebody's unit has besides the template; empty for nothing.

        Of several groups the larger limit counts, and what was chosen before that of groups.

        Raises ServersError for a profile that the person may not have.
        """
        has = {
            group: each
            for group, each in self.groups.items()
            if name in each.members or (each.anybody and group in wish.groups)
        }
        memory = max((each.memory for each in has.values() if each.memory), default=None)
        cpus = max((each.cpus for each in has.values() if each.cpus), default=None)
        if wish.profile is not None:
            chosen = self.profiles.get(wish.profile)
            if not chosen or (chosen.groups and not has.keys() & set(chosen.groups)):
                raise ServersError(f"the profile {wish.profile!r} is not for {name}")
            memory, cpus = chosen.memory or memory, chosen.cpus or cpus
        lines = [f"MemoryMax={memory}"] if memory else []
        lines += [f"CPUQuota={cpus * 100:g}%"] if cpus else []
        folders = {group: each for group, each in has.items() if each.folder}
        # nobody sees which other groups there are
        places = {str(Path(each.place).parent) for each in folders.values()}
        lines += [f"TemporaryFileSystem={place}:ro,mode=755" for place in sorted(places)]
        for group, each in folders.items():
            teaches = name in each.teachers or (each.anybody_teaches and group in wish.teaches)
            if not Path(str(each.folder)).is_dir():
                raise ServersError(f"the folder of the group {group} is not there: {each.folder}")
            how = "BindPaths" if teaches else "BindReadOnlyPaths"
            lines.append(f"{how}={each.folder}:{each.place}")
        return "\n".join(["[Service]", *lines, ""]) if lines else ""

    def address(self, uid: int) -> str:
        """Of the server of a uid: nobody else's, ever."""
        return str(IPv4Address(self.first) + uid - self.uids[0])


def systemctl(*arguments: str) -> str:
    """What systemctl prints. Raises ServersError when it fails."""
    command = ["systemctl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServersError(f"systemctl {arguments[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


class Servers:
    """People's servers: at most one each."""

    def __init__(self, policy: Policy, run: Path = RUN, drop_ins: Path = DROP_INS) -> None:
        self.policy, self.run, self.drop_ins = policy, run, drop_ins

    def start(
        self, name: str, environment: dict[str, str], arguments: list[str], wish: Wish
    ) -> dict[str, str]:
        """Have a new one, and none of before."""
        drop_in = self.policy.drop_in(name, wish)
        with self._locked(name):
            uid = self._owner(name)
            for former in {uid, *self._started(name)}:
                self._end(former)
            if drop_in:
                self._drop_ins(uid).mkdir(exist_ok=True)
                (self._drop_ins(uid) / "hubstead.conf").write_text(drop_in)
            if self._shown("NeedDaemonReload", uid) == "yes":
                # else the next one is as the settings had it when the last one began
                systemctl("daemon-reload")
            directory = self.run / str(uid)
            directory.mkdir(mode=0o700, exist_ok=True)
            (directory / "home").symlink_to(Path(self.policy.files, name))
            entry = f"jovyan:x:{uid}:{self.policy.gid}::{self.policy.home}:/bin/bash\n"
            (directory / "passwd").write_text(f"root:x:0:0:root:/:/usr/sbin/nologin\n{entry}")
            (directory / "passwd").chmod(0o644)
            (directory / "resolv.conf").write_text(resolvers())
            (directory / "resolv.conf").chmod(0o644)
            # with the token of the Hub's API: root's alone to read, and gone once it is read
            secret = os.open(directory / "environment", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(secret, "w") as file:
                file.write(written({**environment, "HUBSTEAD_ARGUMENTS": " ".join(arguments)}))
        try:
            systemctl("start", UNIT.format(uid))
        except ServersError as error:
            raise ServersError(
                "the server did not start; on the Hub's host, "
                f"`journalctl --namespace=+hubstead-servers -u {UNIT.format(uid)}` has the reason"
            ) from error
        finally:
            (directory / "environment").unlink(missing_ok=True)
        return {"address": self.policy.address(uid), "unit": UNIT.format(uid)}

    def stop(self, name: str) -> None:
        """Have none of this name."""
        with self._locked(name):
            for uid in self._started(name):
                self._end(uid)

    def look(self, name: str) -> dict[str, object]:
        """Whether one of this name runs, or is being started."""
        for uid in self._started(name):
            runs = self._shown("ActiveState", uid) in ("active", "activating", "reloading")
            return {"runs": runs, "unit": UNIT.format(uid)}
        return {"runs": False, "unit": ""}

    def _owner(self, name: str) -> int:
        """The uid of somebody's files."""
        path, (first, last) = Path(self.policy.files, name), self.policy.uids
        try:
            found = path.lstat()
        except FileNotFoundError as error:
            raise ServersError(f"{path} is not there") from error
        if not stat.S_ISDIR(found.st_mode) or not first <= found.st_uid <= last:
            raise ServersError(f"{path} is no directory of a uid from {first} to {last}")
        return found.st_uid

    def _started(self, name: str) -> list[int]:
        """The uids whose servers were started with the files of this name."""
        home, found = str(Path(self.policy.files, name)), []
        for directory in self.run.iterdir():
            # a lock, or another one's, which just ends
            with suppress(FileNotFoundError, NotADirectoryError):
                if str((directory / "home").readlink()) == home:
                    found.append(int(directory.name))
        return sorted(found)

    def _shown(self, what: str, uid: int) -> str:
        return systemctl("show", "--value", "--property", what, UNIT.format(uid))

    def _drop_ins(self, uid: int) -> Path:
        return self.drop_ins / f"{UNIT.format(uid)}.d"

    def _end(self, uid: int) -> None:
        systemctl("stop", UNIT.format(uid))
        shutil.rmtree(self.run / str(uid), ignore_errors=True)
        shutil.rmtree(self._drop_ins(uid), ignore_errors=True)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.run / f"{name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def resolvers(etc: Path = Path("/etc/resolv.conf")) -> str:
    """A resolv.conf(5) for servers: without what the host has on loopback, where they have none."""
    text = etc.read_text() if etc.exists() else ""
    behind = Path("/run/systemd/resolve/resolv.conf")
    if "nameserver 127.0.0.53" in text and behind.exists():
        text = behind.read_text()
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not re.match(r"\s*nameserver\s+(127\.|::1)", line))


def written(environment: dict[str, str]) -> str:
    """A file of variables, each value as it is. Rule: systemd.exec(5), EnvironmentFile=."""
    lines = []
    for name, value in environment.items():
        quoted = re.sub(r'(["\\`$])', r"\\\1", value)
        lines.append(f'{name}="{quoted}"\n')
    return "".join(lines)


def _checked(request: dict[str, Any]) -> tuple[str, str]:
    """Verb and name. Raises ValueError, KeyError, TypeError or AttributeError for no request."""
    (verb,) = request.keys() & {"start", "stop", "look"}
    keys = {verb, "environment", "arguments"} if verb == "start" else {verb}
    further = {"groups", "teaches", "profile"} if verb == "start" else set()
    if request.keys() - further != keys or not NAME.fullmatch(request[verb]):
        raise ValueError
    if verb == "start":
        for variable, value in request["environment"].items():
            if not VARIABLE.fullmatch(variable) or not VALUE.fullmatch(value):
                raise ValueError
        if not isinstance(request["arguments"], list) or len(request["arguments"]) > 50:
            raise ValueError
        if not all(ARGUMENT.fullmatch(argument) for argument in request["arguments"]):
            raise ValueError
        for key in ("groups", "teaches"):
            groups = request.get(key, [])
            if not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
                raise ValueError
        if not isinstance(request.get("profile", ""), str):
            raise ValueError
    return verb, request[verb]


def answer(servers: Servers, line: str) -> dict[str, object]:
    """The answer to a request."""
    try:
        request = json.loads(line)
        verb, name = _checked(request)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {"error": "the request is none"}
    try:
        if verb == "start":
            wish = Wish(
                frozenset(request.get("groups", ())),
                frozenset(request.get("teaches", ())),
                request.get("profile"),
            )
            return dict(servers.start(name, request["environment"], request["arguments"], wish))
        if verb == "look":
            return servers.look(name)
        servers.stop(name)
        return {}
    except (ServersError, OSError) as error:
        # a warning in the journal (sd-daemon(3))
        print(f"<4>{verb} {name}: {error}", file=sys.stderr)
        return {"error": str(error)}


def main(policy: str) -> NoReturn:
    servers = Servers(Policy.read(json.loads(Path(policy).read_text())))
    signal.alarm(PATIENCE)
    line = sys.stdin.buffer.readline(LINE).decode(errors="replace")
    signal.alarm(0)
    print(json.dumps(answer(servers, line)), flush=True)
    sys.exit()


if __name__ == "__main__":
    main(*sys.argv[1:])
