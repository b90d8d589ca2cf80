"""A Hub whose people a provider has: the rules of who may, and what the Hub has of whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests

from tests.unit.hub.conftest import Hub

#: Of the service `maker` in the Hub's configuration
SERVICE_TOKEN = "5e" * 32


class Accounts:
    """The Hub, and the rules that it reads."""

    def __init__(self, hub: Hub, rules: Path) -> None:
        self.hub, self._rules_file = hub, rules
        self.eventually = hub.eventually

    def rules(self, **lists: Any) -> None:
        none: list[str] = []
        document = {"everyone": False, "allowed": none, "blocked": none, "admins": none}
        document |= {"allowed_groups": none, "admin_groups": none, "names": {}}
        new = self._rules_file.with_suffix(".new")
        new.write_text(json.dumps(document | lists))
        new.replace(self._rules_file)

    def service(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"token {SERVICE_TOKEN}"}
        url = f"{self.hub.url}/hub/api{path}"
        return requests.request(method, url, headers=headers, timeout=20, **options)

    def token_of(self, name: str) -> str:
        answer = self.service("POST", f"/users/{name}/tokens", json={})
        return str(answer.json()["token"])

    def works(self, token: str) -> bool:
        headers = {"Authorization": f"token {token}"}
        answer = requests.get(f"{self.hub.url}/hub/api/user", headers=headers, timeout=20)
        return answer.status_code == 200

    def start(self, name: str) -> None:
        """A server of theirs that runs (hub_config.NoSpawner)."""
        (self.hub.log.parent / name).touch()
        assert self.service("POST", f"/users/{name}/server").status_code in (201, 202)
        self.eventually(lambda: self.runs(name))

    def runs(self, name: str) -> bool:
        servers = self.service("GET", f"/users/{name}").json()["servers"]
        return bool(servers and servers[""]["ready"])
