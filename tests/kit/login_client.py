"""A person's way into a shared JupyterLab without a browser: the login's forms, files, kernels."""

from __future__ import annotations

import json
import socket
import uuid
from typing import Any

import httpx
import websocket

from tests.kit import forms
from tests.kit.hub_client import PATIENCE, Site

SESSION = "__Host-hubstead-session"


class LoginClient:
    """A browser's worth of cookies, and what one does with them."""

    def __init__(self, site: Site, port: int, username: str = "") -> None:
        self.site, self.port, self.username = site, port, username
        self.origin = f"https://{site.name}:{port}"
        self.http = httpx.Client(
            base_url=f"https://{site.address}:{port}",
            headers={"Host": f"{site.name}:{port}"},
            verify=site.tls(),
            trust_env=False,
            timeout=PATIENCE,
        )

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One exchange; redirects are not followed."""
        extensions = {"sni_hostname": self.site.name}
        return self.http.request(method, path, extensions=extensions, **options)

    def page(self, path: str) -> httpx.Response:
        """Open a page as a browser does."""
        return self.request("GET", path, headers={"Accept": "text/html"})

    def submit(self, page: str, action: str, **fields: str) -> httpx.Response:
        """Fill in and send the form of a page, with what its hidden fields hold."""
        text = self.page(page).text
        data = forms.hidden(text) | fields
        return self.request("POST", action, data=data, headers={"Origin": self.origin})

    def log_in(self, password: str) -> httpx.Response:
        return self.submit("/auth/login", "/auth/login", username=self.username, password=password)

    def log_out(self) -> httpx.Response:
        return self.submit("/auth/account", "/auth/logout")

    def is_logged_in(self) -> bool:
        return self.request("GET", "/api/status").status_code == 200

    def cookies(self) -> str:
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.http.cookies.jar)

    def api(self, method: str, path: str, **options: Any) -> Any:
        """Call JupyterLab's API, and read its answer."""
        answer = self.request(method, f"/api{path}", **options).raise_for_status()
        return answer.json() if answer.content else None

    def save(self, path: str, text: str) -> None:
        body = {"type": "file", "format": "text", "content": text}
        self.api("PUT", f"/contents/{path}", json=body)

    def socket(self, path: str, cookies: str | None = None) -> websocket.WebSocket:
        """Open a websocket. Raises WebSocketBadStatusException where that is refused."""
        plain = socket.create_connection((self.site.address, self.port), timeout=PATIENCE)
        return websocket.create_connection(
            f"wss://{self.site.name}:{self.port}{path}",
            socket=self.site.tls().wrap_socket(plain, server_hostname=self.site.name),
            cookie=self.cookies() if cookies is None else cookies,
            origin=self.origin,
            timeout=PATIENCE,
        )

    def kernel(self) -> Any:
        """Start a kernel; its identity."""
        return self.api("POST", "/kernels", json={"name": "python3"})["id"]

    def run(self, kernel: str, code: str) -> str:
        """Run a cell over a websocket of its own; what it printed."""
        channel = self.socket(f"/api/kernels/{kernel}/channels")
        message, printed = uuid.uuid4().hex, []
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        header = {
            "msg_id": message,
            "msg_type": "execute_request",
            "username": "",
            "version": "5.3",
        }
        header |= {"session": message, "version": "5.3"}
        request = {"header": header, "parent_header": {}, "metadata": {}}
        channel.send(json.dumps(request | {"content": content, "channel": "shell"}))
        while True:
            answer = json.loads(channel.recv())
            if answer["parent_header"].get("msg_id") != message:
                continue
            if answer["msg_type"] == "stream":
                printed.append(answer["content"]["text"])
            if answer["content"].get("execution_state") == "idle":
                channel.close()
                return "".join(printed)
