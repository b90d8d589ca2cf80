"""The deployed service that the tests share: its host, its people, and what its deploy reported."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import Lab
from tests.kit.hub_client import HubClient, Site, patiently
from tests.kit.support import PROJECT, Run, dry, pyinfra

INVENTORY = PROJECT / "tests/inventories/service.py"
NAME = "service.example.org"
SECRETS = PROJECT / f".secrets/{NAME}.json"
PASSWORD = "a quiet otter reads 42 charts"
#: An account of the host without any rights, there before the first deploy
STRANGER = "mallory"
#: What a run must leave alone; patterns, as systemctl(1) takes them
UNITS = (
    "jupyterhub*.service traefik*.service configurable-http-proxy*.service docker.service"
    " containerd.service postgresql*.service ssh.service hubstead-firewall*.service hubstead*.timer"
)

# Notes what any account can see of all processes, in a file that only the stranger reads.
_WATCH = """
import os, time
seen = set()
os.umask(0o077)
with open("/home/mallory/seen", "ab", buffering=0) as notes:
    while True:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for name in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{pid}/{name}", "rb") as file:
                        text = file.read()
                except OSError:
                    continue
                if text not in seen:
                    seen.add(text)
                    notes.write(text + b"\\n")
        time.sleep(0.05)
"""

# What no plan may touch: all but what the system notes down about itself, and what has no disk
_FILES = r"""
find / -xdev -regextype egrep -regex '/(proc|sys|dev|run|tmp|var/log|var/lib/systemd)' -prune \
    -o -printf '%p %M %U:%G %s %T@ %l\n' | sort
"""


def container(username: str) -> str:
    """The name of the container of someone's server."""
    return f"hubstead-{username}--"


@dataclass(frozen=True)
class Story:
    """What happened to the bare host: a plan, a deploy, a second deploy; both with all output."""

    before_plan: str
    plan: Run
    after_plan: str
    first: Run
    one_time_password: str
    units_before: dict[str, str]
    second: Run
    units_after: dict[str, str]

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Story:
        values: dict[str, Any] = json.loads(text)
        for name in ("plan", "first", "second"):
            values[name] = Run(**values[name])
        return cls(**values)


class Deployed:
    """The host that tests share, as the bare host's second deploy left it."""

    def __init__(self, lab: Lab, directories: Callable[[], Path]) -> None:
        self.lab, self._directories = lab, directories
        self._service: Service | None = None
        self.story: Story

    def service(self) -> Service:
        """The host, as the tests before left it, who leave it as they found it."""
        if self._service is None:
            self._service = self.alone()
        return self._service

    def alone(self, *settings: str) -> Service:
        """The host for tests that change it: the next ones get it anew.

        + settings: what its deploys get by --data from now on.
        """
        make = Service(self.lab, self._directories()).story
        story = self.lab.reach(INVENTORY, "deployed twice", lambda: make().as_json())
        self.story = Story.from_json(story)
        self._service = None
        return Service(self.lab, self._directories(), settings=settings)


class Service:
    """The host and its people. All tests share them: leave them as you found them."""

    def __init__(
        self,
        lab: Lab,
        directory: Path,
        inventory: Path = INVENTORY,
        name: str = NAME,
        settings: tuple[str, ...] = (),
    ) -> None:
        self.lab, self.inventory, self.name = lab, inventory, name
        #: what each deploy gets by --data
        self.settings = settings
        #: where people's servers are (tests.kit.hub_client.Site)
        self.servers: str | None = f"*.{name}"
        self.directory = directory
        self._people: dict[str, HubClient] = {}

    @property
    def address(self) -> str:
        return self.lab.host(self.name).address

    def sudo(self, script: str, input: str | None = None) -> str:
        """What a script prints on the host as root. It has to succeed."""
        command = f"sudo sh -euc {shlex.quote(script)}"
        done = self.lab.run(self.name, command, input=input, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stranger(self, script: str, input: str | None = None) -> str:
        """What a script prints on the host as an account without rights, however it ends."""
        command = f"cd / && sudo -u {STRANGER} sh -c {shlex.quote(script)}"
        return self.lab.run(self.name, command, input=input, check=False).stdout

    def run(self, *arguments: str) -> Run:
        """Deploy to the host; `deploys/all.py` unless the arguments say otherwise."""
        data = [word for each in self.settings for word in ("--data", each)]
        return pyinfra(self.inventory, *data, *(arguments or ("deploys/all.py",)))

    def dry(self, *arguments: str) -> Run:
        return dry(self.inventory, *(arguments or ("deploys/all.py",)))

    def manifest(self) -> dict[str, Any]:
        """What tests/kit/manifest.py finds on the host."""
        script = (PROJECT / "tests/kit/manifest.py").read_text()
        return dict(json.loads(self.lab.run(self.name, "sudo python3 -", input=script).stdout))

    def units(self) -> dict[str, str]:
        """Each of our units with its state and the moments of its activation."""
        properties = "Id,ActiveState,UnitFileState,ActiveEnterTimestamp,ExecMainStartTimestamp"
        shown = self.sudo(f"systemctl show --timestamp=us -p {properties} {UNITS}")
        blocks = [dict(line.split("=", 1) for line in b.splitlines()) for b in shown.split("\n\n")]
        return {block.pop("Id"): repr(sorted(block.items())) for block in blocks}

    def story(self) -> Story:
        """Bring a bare host to a service, and tell how it went."""
        before = self.sudo(_FILES)
        plan = self.dry()
        after = self.sudo(_FILES)
        watch = f"systemd-run -q --unit=watch --uid={STRANGER} python3 -c {shlex.quote(_WATCH)}"
        self.sudo(f"useradd --create-home --shell /bin/sh {STRANGER}; {watch}")
        # as an owner has it who lets nobody read what root writes
        self.sudo("sed -i 's/pam_umask.so/& umask=077/' /etc/pam.d/common-session*")
        everything = ("-vvv", "--diff", "deploys/all.py")
        first = self.run(*everything)
        assert first.status == 0, first.end
        password = self.sudo("hub-users initial-password admin").strip()
        units = self.units()
        second = self.run(*everything)
        self.sudo("systemctl stop watch; sed -i 's/ umask=077//' /etc/pam.d/common-session*")
        return Story(before, plan, after, first, password, units, second, self.units())

    @property
    def site(self) -> Site:
        """The service, and the authority that people are told to trust."""
        file = self.directory / "ca.pem"
        if not file.exists():
            file.write_text(self.lab.run(self.name, "cat /etc/hubstead/tls/ca.pem").stdout)
        return Site(self.name, self.address, file, servers=self.servers)

    def visitor(self, username: str) -> HubClient:
        """Someone with an account who has not logged in yet."""
        known = [row["username"] for row in json.loads(self.sudo("hub-users list --json"))]
        if username not in known:
            self.sudo(f"hub-users add {username} --password-stdin", input=f"{PASSWORD}\n")
        return HubClient(self.site, username)

    def person(self, username: str) -> HubClient:
        """Someone with an account, a token and a running server."""
        if username not in self._people:
            client = self.visitor(username)
            client.log_in(PASSWORD)
            client.take_token()
            self._people[username] = client
        self._people[username].start_server()
        return self._people[username]

    def stop_servers(self) -> None:
        """Stop the servers of all who have one by `person`."""
        for client in self._people.values():
            patiently(client.stop_server)

    def forget(self) -> None:
        """Who comes next comes anew."""
        self._people.clear()

    def server_address(self, username: str) -> str:
        """The address of someone's server on the users' network."""
        self.person(username)
        path = "{{.NetworkSettings.Networks.hubstead.IPAddress}}"
        return self.sudo(f"docker inspect --format '{path}' {container(username)}").strip()

    def check_works(self) -> None:
        """A person logs in and runs a cell, at the latest in three minutes."""
        patiently(self._compute)

    def _compute(self) -> None:
        self.visitor("alice").log_in(PASSWORD)
        with self.person("alice").kernel() as kernel:
            assert kernel.run("print(6*7)") == "42\n"
