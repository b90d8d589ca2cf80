"""A person's way into the deployed service without a browser: forms, REST API, kernels.

The service is reached at its address, and its certificate is verified for the name asked for, as a
browser would that knows the names of the Hub and of people's servers.
"""

from __future__ import annotations

import html
import json
import re
import select
import socket
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import unquote

import httpx
import websocket
from jupyterhub.utils import subdomain_hook_idna
from websocket import ABNF, WebSocketException, WebSocketTimeoutException

from tests.kit import forms

#: Seconds for one answer, and for a server to start, on a slow and busy machine
PATIENCE, START = 60, 180

Answer = TypeVar("Answer")


class _AtItsAddress(httpx.HTTPTransport):
    """Takes requests for any name to one address, as with a line of /etc/hosts for each."""

    def __init__(self, site: Site) -> None:
        super().__init__(verify=site.tls())
        self._address = site.address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=self._address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": request.url.host},
            )
        )


@dataclass(frozen=True)
class Site:
    """Where the service is, and the authority that vouches for it; `base` is `hub_base_url`.

    + servers: the name of somebody's server, `*` for the person's; None for the service's own.
    """

    name: str
    address: str
    ca: Path
    port: int = 443
    base: str = "/"
    servers: str | None = None

    @property
    def host(self) -> str:
        """Name and port, as in an address."""
        return self._with_port(self.name)

    def name_for(self, path: str) -> str:
        """The name at which a path is: that of the Hub, or of somebody's server."""
        below = path.removeprefix(f"{self.base}user/")
        if below == path or not self.servers:
            return self.name
        if not self.servers.startswith("*."):
            return self.servers
        # what is no label of a name becomes one with a hash, which only JupyterHub's rule knows
        username = unquote(below.partition("/")[0])
        return str(subdomain_hook_idna(username, self.servers.removeprefix("*."), "user"))

    def url(self, path: str) -> str:
        return f"https://{self._with_port(self.name_for(path))}{path}"

    def _with_port(self, name: str) -> str:
        return name if self.port == 443 else f"{name}:{self.port}"

    def client(self) -> httpx.Client:
        """For any of the names; without anybody's cookies."""
        return httpx.Client(transport=_AtItsAddress(self), trust_env=False, timeout=PATIENCE)

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


class KernelError(Exception):
    """What a cell raised, or that its kernel died."""


class HubClient:
    """A person's session: cookies from the login form, then a token for the API."""

    def __init__(self, site: Site, username: str) -> None:
        self.site, self.username = site, username
        self.http = site.client()
        self.token = ""

    def move(self, site: Site) -> None:
        """Go on where the service is now; the token stays, cookies do not."""
        self.http.close()
        self.site, self.http = site, site.client()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One exchange; redirects are not followed."""
        headers = {"Authorization": f"token {self.token}"} if self.token else {}
        return self.http.request(method, self.site.url(path), headers=headers, **options)

    def submit(self, path: str, **fields: str) -> httpx.Response:
        """Fill in and send the form at `path`, with what its hidden fields hold."""
        page = self.request("GET", path).raise_for_status().text
        return self.request("POST", forms.action(page), data=forms.hidden(page) | fields)

    def log_in(self, password: str) -> None:
        """Log in by the form. Raises httpx.HTTPStatusError where that leads nowhere."""
        answer = self.try_to_log_in(password)
        if answer.status_code != 302:
            answer.raise_for_status()
        assert self.is_logged_in()

    def try_to_log_in(self, password: str) -> httpx.Response:
        """Send the login form, and return what comes of it."""
        return self.submit(f"{self.site.base}hub/login", username=self.username, password=password)

    def change_password(self, current: str, new: str) -> httpx.Response:
        return self.submit(
            f"{self.site.base}hub/change-password?username={self.username}",
            password=current,
            new_password=new,
            new_password_again=new,
        )

    def is_logged_in(self) -> bool:
        """Whether the cookies of the login still open the home page."""
        return self.request("GET", f"{self.site.base}hub/home").status_code == 200

    def take_token(self) -> None:
        """Make an API token of the person's own, and use it from now on."""
        xsrf = self.http.cookies.get("_xsrf", path=f"{self.site.base}hub/") or ""
        path = f"{self.site.base}hub/api/users/{self.username}/tokens?_xsrf={xsrf}"
        self.token = self.request("POST", path, json={}).raise_for_status().json()["token"]

    def api(self, method: str, path: str, **options: Any) -> Any:
        """Call the Hub's REST API, and read its answer."""
        answer = self.request(
            method, f"{self.site.base}hub/api{path}", **options
        ).raise_for_status()
        return answer.json() if answer.content else None

    def server(self, method: str, path: str, **options: Any) -> Any:
        """Call the person's own server, and read its answer."""
        path = f"{self.site.base}user/{self.username}/api{path}"
        answer = self.request(method, path, **options).raise_for_status()
        return answer.json() if answer.content else None

    def server_answers(self) -> bool:
        try:
            self.server("GET", "/status")
        except (httpx.TransportError, httpx.HTTPStatusError):
            return False
        return True

    def start_server(self) -> None:
        """Start the person's server unless it runs, and wait until it answers."""
        deadline = time.monotonic() + START
        while not self.server_answers():
            assert time.monotonic() < deadline, f"the server of {self.username} does not answer"
            # 400: it is starting already
            self.request("POST", f"{self.site.base}hub/api/users/{self.username}/server")
            time.sleep(1)

    def arrive(self, path: str = "hub/spawn") -> list[str]:
        """Open a page as a browser does, and wait where it says so until one's server is there.

        Returns what the pages on the way said. The browser has no token, and nobody presses
        anything.
        """
        said: list[str] = []
        while True:
            page = self.land(path, said)
            if page.url.path.startswith(f"{self.site.base}user/") and page.status_code == 200:
                return said
            pending = "/spawn-pending/" in page.url.path and page.status_code == 200
            assert pending, f"{page.status_code} {page.url} leads nowhere: {said}"
            self._watch_progress(page.url, page.text)
            path = page.url.raw_path.decode().removeprefix(self.site.base)

    def land(self, path: str, said: list[str] | None = None) -> httpx.Response:
        """Open a page as a browser does, and end at the first that loads no other by itself.

        + said: takes what the pages on the way said.
        """
        url = httpx.URL(self.site.url(f"{self.site.base}{path}"))
        deadline = time.monotonic() + 3 * START
        while True:
            page = self.http.get(url, headers={"Accept": "text/html,*/*"}, follow_redirects=True)
            again = forms.refresh(page.text)
            if again is None:
                return page
            if said is not None:
                said.append(forms.said(page.text))
            assert time.monotonic() < deadline, f"{page.status_code} {page.url}: {said}"
            time.sleep(again)
            url = page.url.join(forms.leads(page.text))

    def _watch_progress(self, page: httpx.URL, text: str) -> None:
        """Until the page would load itself again (JupyterHub's spawn_pending.html)."""
        source = re.search(r'new EventSource\("([^"]+)"', text)
        assert source, text
        with self.http.stream("GET", page.join(html.unescape(source[1])), timeout=START) as events:
            for line in events.iter_lines():
                if line.startswith("data:"):
                    event = json.loads(line.removeprefix("data:"))
                    assert not event.get("failed"), event
                    if event.get("ready"):
                        return

    def stop_server(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.api("GET", f"/users/{self.username}")["servers"]:
            assert time.monotonic() < deadline, f"the server of {self.username} does not stop"
            self.request("DELETE", f"{self.site.base}hub/api/users/{self.username}/server")
            time.sleep(0.5)

    def kernel(self, name: str = "python3") -> Kernel:
        """Start a kernel, and connect to it."""
        return Kernel(self, self.server("POST", "/kernels", json={"name": name})["id"])

    def websocket(self, path: str) -> websocket.WebSocket:
        """Open a websocket of the person's server."""
        site = self.site
        plain = socket.create_connection((site.address, site.port), timeout=PATIENCE)
        url = httpx.URL(site.url(f"{site.base}user/{self.username}/{path}"))
        return websocket.create_connection(
            str(url.copy_with(scheme="wss")),
            socket=site.tls().wrap_socket(plain, server_hostname=url.host),
            header=[f"Authorization: token {self.token}"],
            origin=str(url.copy_with(path="/")).rstrip("/"),
            timeout=PATIENCE,
        )

    def terminal(self, line: str) -> None:
        """Open a terminal, type a line once its shell asks for one, and close the browser."""
        name = self.server("POST", "/terminals")["name"]
        terminal = self.websocket(f"terminals/websocket/{name}")
        _read_until("$", terminal)
        terminal.send(json.dumps(["stdin", f"{line}\r"]))
        _read_until(line, terminal)
        terminal.close()

    def notebook(self, path: str, cell: str) -> None:
        """Save a notebook with one cell."""
        metadata: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": []}
        content = {
            "cells": [metadata | {"execution_count": None, "source": cell}],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 4,
        }
        body = {"type": "notebook", "format": "json", "content": content}
        self.server("PUT", f"/contents/{path}", json=body)

    def cells(self, path: str) -> list[str]:
        """The sources of a notebook's cells."""
        content = self.server("GET", f"/contents/{path}")["content"]
        return [cell["source"] for cell in content["cells"]]


class Kernel:
    """A kernel and an open websocket to it."""

    def __init__(self, client: HubClient, identity: str) -> None:
        self.client, self.identity = client, identity
        self.reading = threading.Lock()
        self.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def connect(self) -> None:
        """Open the websocket anew, as a browser does that lost it."""
        self.socket = self.client.websocket(f"api/kernels/{self.identity}/channels")
        self.unread: deque[str | bytes] = deque()
        threading.Thread(target=self._answer_pings, args=(self.socket,), daemon=True).start()

    def _answer_pings(self, connection: websocket.WebSocket) -> None:
        """As a browser does: who is silent for 90 s is cut (Jupyter Server, ping_timeout)."""
        while True:
            time.sleep(5)
            with self.reading:
                if connection is not self.socket or not connection.connected:
                    return
                try:
                    # what can be read may be less than a message, such as a ticket of TLS
                    connection.settimeout(1)
                    while select.select([connection.sock], [], [], 0)[0]:
                        kind, content = connection.recv_data(control_frame=True)
                        if kind in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
                            self.unread.append(content)
                        elif kind == ABNF.OPCODE_CLOSE:
                            return
                    connection.settimeout(PATIENCE)
                except WebSocketTimeoutException:
                    # websocket-client goes on with what it has of it
                    connection.settimeout(PATIENCE)
                except (OSError, WebSocketException):
                    # whoever uses it next is told
                    return

    def run(self, code: str) -> str:
        """Run a cell; what it printed. Raises KernelError with what it raised."""
        with self.reading:
            shown = list(self._run(code))
        return "".join(content["text"] for content in shown if "text" in content)

    def show(self, code: str) -> dict[str, str]:
        """Run a cell; what it showed beside what it printed, by its type (RFC 6838)."""
        with self.reading:
            shown = list(self._run(code))
        return {kind: text for each in shown for kind, text in each.get("data", {}).items()}

    def begin(self, code: str) -> None:
        """Begin with a cell, and close the browser."""
        message = uuid.uuid4().hex
        with self.reading:
            self.socket.send(json.dumps(_execute_request(message, code)))
            for kind, _ in self._answers(message):
                if kind == "execute_input":
                    break
            self.socket.close()

    def _run(self, code: str) -> Iterator[dict[str, Any]]:
        """What a cell prints and shows, as it comes."""
        message = uuid.uuid4().hex
        self.socket.send(json.dumps(_execute_request(message, code)))
        for kind, content in self._answers(message):
            if kind in ("stream", "execute_result", "display_data"):
                yield content
            elif kind == "error":
                raise KernelError(f"{content['ename']}: {content['evalue']}")
            elif kind == "status" and content["execution_state"] in ("restarting", "dead"):
                raise KernelError("the kernel died")
            elif kind == "status" and content["execution_state"] == "idle":
                break

    def _received(self) -> str | bytes | None:
        """The next message; None for a ping, of which else there would be no end."""
        kind, content = self.socket.recv_data(control_frame=True)
        if kind == ABNF.OPCODE_CLOSE:
            raise WebSocketException("the server closed the connection")
        return content if kind in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY) else None

    def _answers(self, message: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the kernel publishes about a request, and about its own end."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            text = self.unread.popleft() if self.unread else self._received()
            if text is None:
                continue
            answer = json.loads(text)
            mine = answer["parent_header"].get("msg_id") == message
            ends = answer["content"].get("execution_state") in ("restarting", "dead")
            if answer["channel"] == "iopub" and (mine or ends):
                yield answer["msg_type"], answer["content"]
        raise KernelError(f"no answer within {PATIENCE} s")


def _read_until(sign: str, terminal: websocket.WebSocket) -> None:
    """Read what a terminal prints (terminado.websocket), until that has a sign in it."""
    printed = ""
    while sign not in printed:
        kind, *content = json.loads(terminal.recv())
        if kind == "stdout":
            printed += content[0]


def _execute_request(message: str, code: str) -> dict[str, Any]:
    content = {
        "code": code, "silent": False, "store_history": False, "allow_stdin": False,
        # else what comes soon after an error is not run (ipykernel, stop_on_error_timeout)
        "stop_on_error": False,
    }  # fmt: skip
    return {
        "header": {
            "msg_id": message,
            "msg_type": "execute_request",
            "username": "",
            "session": message,
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
    }


def patiently(call: Callable[[], Answer], seconds: float = 180) -> Answer:
    """Call until the service answers well; raise its last error when it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (httpx.TransportError, httpx.HTTPStatusError, OSError, WebSocketException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
