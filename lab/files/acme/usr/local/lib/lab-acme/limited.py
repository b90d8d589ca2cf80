"""Pebble's port with its rate limit reached: new orders are refused, all else goes to Pebble."""

import json
import os
import socket
import ssl
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# RFC 8555, section 6.6, in the words of Let's Encrypt
PROBLEM = {
    "type": "urn:ietf:params:acme:error:rateLimited",
    "detail": "too many new orders (300) from this account in the last 3h0m0s, retry after "
    "2038-01-19 03:14:07 UTC: see https://letsencrypt.org/docs/rate-limits/",
    "status": 429,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/order-plz":  # Pebble's newOrder
            headers = [("Content-Type", "application/problem+json"), ("Retry-After", "3600")]
            return self.reply(429, headers, json.dumps(PROBLEM).encode())
        pebble = HTTPSConnection("127.0.0.1", 14001, context=ssl._create_unverified_context())
        pebble.request(self.command, self.path, body, dict(self.headers))
        answer = pebble.getresponse()
        self.reply(answer.status, answer.getheaders(), answer.read())

    do_GET = do_HEAD = do_POST = handle_one  # noqa: N815

    def reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name not in ("Content-Length", "Transfer-Encoding", "Connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    credentials = Path(os.environ["CREDENTIALS_DIRECTORY"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(credentials / "certificate", credentials / "key")
    server = ThreadingHTTPServer(("", 14000), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    server.serve_forever()


main()
