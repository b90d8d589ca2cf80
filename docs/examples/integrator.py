#!/usr/bin/env python3
"""A person with a server for a while, by JupyterHub's API: what an application does that has one.

    HUB=https://notebooks.example.org/jupyter TOKEN=… python3 integrator.py visitor-1

TOKEN is that of an account in `hub_service_accounts` with the scopes admin:users, admin:servers and
tokens. It needs the packages requests and websocket-client (Debian: python3-requests,
python3-websocket).
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
import time
import uuid
from types import TracebackType
from typing import Any

import requests
import websocket


class IntegratorError(Exception):
    """The Hub, a server or a cell does not do what it was asked."""


class Session:
    """Somebody's JupyterLab: made when the block begins, removed with its files when it ends.

    + hub: the address of the service, with `hub_base_url`.
    + token: that of the application.
    + name: of the person; lower-case, and nobody has it yet.
    + ca: a file with the certificates to trust; None for the usual ones.
    + seconds: for a server to be there.
    """

    def __init__(
        self, hub: str, token: str, name: str, ca: str | None = None, seconds: float = 180
    ) -> None:
        self.hub, self.name, self.ca, self.seconds = hub.rstrip("/"), name, ca, seconds
        self.application = token
        #: Of the person's server, and the token with which it lets them in
        self.url, self.token = "", ""

    def __enter__(self) -> Session:
        self._hub("POST", "")
        try:
            made = self._hub("POST", "/tokens", {"expires_in": 3600, "note": "a visit"})
            self.token = made["token"]
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the person; the server ends, and nobody gets the files."""
        self._hub("DELETE", "")

    def _ask(self, method: str, url: str, token: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"token {token}"}
        # to each request: a session's own gives way to REQUESTS_CA_BUNDLE
        verify = self.ca or True
        return requests.request(method, url, headers=headers, verify=verify, timeout=60, **options)

    def _hub(self, method: str, path: str, body: object = None) -> Any:
        url = f"{self.hub}/hub/api/users/{self.name}{path}"
        return _content(self._ask(method, url, self.application, json=body))

    def _server(self, method: str, path: str, **options: Any) -> Any:
        return _content(self._ask(method, f"{self.url}/api{path}", self.token, **options))

    def _start(self) -> None:
        deadline = time.monotonic() + self.seconds
        begun = False
        while time.monotonic() < deadline:
            server = self._hub("GET", "")["servers"].get("")
            if server and server["ready"]:
                self.url = server["full_url"].rstrip("/")
                return
            if begun and not server:
                raise IntegratorError(f"the server of {self.name} did not start")
            begun = begun or self._begins()
            time.sleep(1)
        raise IntegratorError(f"{self.name} has no server after {self.seconds:g} s")

    def _begins(self) -> bool:
        """Whether the server starts; False after a wait, where the Hub starts others first."""
        url = f"{self.hub}/hub/api/users/{self.name}/server"
        answer = self._ask("POST", url, self.application)
        if answer.status_code == 429:
            time.sleep(float(answer.headers.get("Retry-After", 5)))
            return False
        _content(answer)
        return True

    def put(self, path: str, content: bytes) -> None:
        """Write a file of the person's."""
        body = {"type": "file", "format": "base64", "content": base64.b64encode(content).decode()}
        self._server("PUT", f"/contents/{path}", json=body)

    def get(self, path: str) -> bytes:
        """Read a file of the person's."""
        found = self._server("GET", f"/contents/{path}", params={"format": "base64"})
        return base64.b64decode(found["content"])

    def run(self, code: str, seconds: float = 60) -> str:
        """What a cell prints in a new kernel. Raises IntegratorError with what it raises."""
        kernel = self._server("POST", "/kernels", json={"name": "python3"})["id"]
        try:
            address = f"{self.url}/api/kernels/{kernel}/channels".replace("https:", "wss:", 1)
            connection = websocket.create_connection(
                address,
                header=[f"Authorization: token {self.token}"],
                sslopt={"context": ssl.create_default_context(cafile=self.ca)},
                timeout=seconds,
            )
            try:
                return _run(connection, code)
            finally:
                connection.close()
        finally:
            self._server("DELETE", f"/kernels/{kernel}")


def _run(connection: websocket.WebSocket, code: str) -> str:
    """Rule: Jupyter's messaging protocol, 5.3, execute_request."""
    number = uuid.uuid4().hex
    header = {"msg_id": number, "msg_type": "execute_request", "session": number, "username": ""}
    request = {
        "channel": "shell",
        "header": header | {"version": "5.3"},
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "allow_stdin": False},
    }
    connection.send(json.dumps(request))
    printed = ""
    while True:
        message = json.loads(connection.recv())
        content = message["content"]
        if message["parent_header"].get("msg_id") != number:
            continue
        if message["msg_type"] == "stream":
            printed += content["text"]
        elif message["msg_type"] == "error":
            raise IntegratorError(f"{content['ename']}: {content['evalue']}")
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            return printed


def _content(answer: requests.Response) -> Any:
    """What an API says. Raises IntegratorError with the words of one that refuses."""
    if not answer.ok:
        raise IntegratorError(f"{answer.status_code} {answer.request.url}: {answer.text[:300]}")
    return answer.json() if answer.content else None


def main(name: str) -> None:
    with Session(os.environ["HUB"], os.environ["TOKEN"], name, os.environ.get("CA")) as session:
        session.put("numbers.csv", b"1\n2\n3\n")
        said = session.run(
            "total = sum(map(int, open('numbers.csv')))\n"
            "open('result.txt', 'w').write(f'{total}\\n'); print(total)"
        )
        print(f"{name} computed {said.strip()}, and wrote {session.get('result.txt')!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
