"""A shared JupyterLab behind a login on lab hosts, and its people."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from lab import Lab
from tests.kit.hub_client import Site
from tests.kit.login_client import LoginClient

PORT = 30088
PASSWORD = "a quiet otter reads 42 charts"
#: JupyterLab's own, which nobody has
TOKEN = "/run/hubstead-token/token"
UNITS = (
    "jupyterlab.service hubstead-login.service hubstead-login-relay.service nginx.service"
    " postgresql@*.service hubstead-firewall.service ssh.service hubstead*.timer"
)


@dataclass
class Shared:
    """The service: the name of the host that serves JupyterLab, and of the one in front of it."""

    lab: Lab
    name: str
    front: str
    directory: Path

    def sudo(self, script: str, input: str | None = None, host: str | None = None) -> str:
        """What a script prints as root on the hub host, or on another. It has to succeed."""
        command = f"sudo sh -euc {shlex.quote(script)}"
        done = self.lab.run(host or self.name, command, input=input, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def site(self) -> Site:
        authority = self.directory / "ca.pem"
        if not authority.exists():
            authority.write_text(self.sudo("cat /etc/hubstead/tls/ca.pem", host=self.front))
        return Site(self.front, self.lab.host(self.front).address, authority)

    def visitor(self, username: str) -> LoginClient:
        """Someone with an account who has not logged in yet."""
        known = [row["username"] for row in json.loads(self.sudo("hub-users list --json"))]
        if username not in known:
            self.sudo(f"hub-users add {username} --password-stdin", input=f"{PASSWORD}\n")
        return LoginClient(self.site, PORT, username)

    def person(self, username: str) -> LoginClient:
        """Someone who is logged in."""
        client = self.visitor(username)
        answer = client.log_in(PASSWORD)
        assert answer.status_code in (302, 303), answer.text
        assert client.is_logged_in()
        return client

    def end_sessions(self, left: str = "5 s") -> None:
        """Let the time of all that are logged in be up, `left` from now (a PostgreSQL interval)."""
        sql = f"UPDATE login_sessions SET expires_at = now() + interval '{left}'"
        self.sudo(f'cd / && runuser -u postgres -- psql -q -d userdb -c "{sql}"')

    def activations(self, host: str | None = None) -> str:
        """When each unit was started last."""
        properties = "Id,ActiveState,ActiveEnterTimestamp,ExecMainStartTimestamp"
        return self.sudo(f"systemctl show --timestamp=us -p {properties} {UNITS}", host=host)
