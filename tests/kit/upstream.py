"""A stand-in for the proxy behind an edge: it tells what reached it.

It runs on a lab host: `python3 upstream.py PORT CERTIFICATE KEY`. A websocket to it gives back what
it gets.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Any request, with any body."""

    protocol_version, server_version = "HTTP/1.1", "made-up/1.2.3"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            self.echo()
            return
        missing = length = int(self.headers.get("Content-Length", 0))
        while missing:
            missing -= len(self.rfile.read(min(missing, 65536)))
        told = {"path": self.path, "bytes": length, "headers": dict(self.headers)}
        text = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.path.endswith("/follow"):
            self.send_header("X-Accel-Redirect", "/none")
            self.send_header("X-Sendfile", "/etc/hostname")
            self.send_header("X-JupyterHub-Version", "1.2.3")
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET  # noqa: N815 - the name is http.server's

    def echo(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.end_headers()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)
        self.close_connection = True


if __name__ == "__main__":
    port, certificate, key = sys.argv[1:]
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
