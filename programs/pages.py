#!/usr/bin/python3 -I
"""Written by Hubstead: what people read where the proxy finds nobody to pass a request to.

    pages PORT BASE [HUB]   BASE: hub_base_url; HUB: where the Hub is, when servers are elsewhere

The proxy asks for /STATUS?url=URL, with what was asked for and with the visitor's headers. Who
wanted the page of a server is led to the Hub, which looks whether that still runs; other pages load
themselves again. Programs get JSON.
"""

from __future__ import annotations

import html
import json
import os
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

#: Seconds after which a page loads itself again, and programs may ask again
AGAIN = 5
HEADING = "One moment, please"
AWAY = "The service does not answer at the moment: it is starting, or is being looked after."
ALONE = "This page tries again by itself every few seconds: you can leave it open."
LOST = "Your server does not answer. The Hub looks whether it still runs."

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta http-equiv="refresh" content="{refresh}" />
<title>{heading}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; }}
main {{ max-width: 34rem; margin: 18vh auto 0; padding: 0 1.25rem; }}
h1 {{ font-size: 1.75rem; border-bottom: 3px solid #f37726; padding-bottom: .5rem; }}
</style>
</head>
<body>
<main>
<h1>{heading}</h1>
<p id="waiting" role="status">{words}</p>
<p>{more}</p>
</main>
</body>
</html>
"""


def page(url: str, base: str, hub: str) -> str:
    """The page in the place of what was asked for."""
    asked = urlsplit(url)
    path = asked.path + (f"?{asked.query}" if asked.query else "")
    values = {"refresh": str(AGAIN), "words": AWAY, "more": ALONE}
    if path.startswith(f"{base}user/"):
        target = html.escape(f"{hub}{base}hub/{path.removeprefix(base)}")
        go_on = f'<a href="{target}">Go on</a>'
        values = {"refresh": f"0;url={target}", "words": LOST, "more": go_on}
    return PAGE.format(heading=HEADING, **values)


class Pages(BaseHTTPRequestHandler):
    """Answers one request of the proxy's."""

    server_version, sys_version = "Hubstead", ""
    #: Seconds for a request to be here
    timeout = 10
    base, hub = "/", ""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        status = asked.path.removeprefix("/")
        if "text/html" in self.headers.get("Accept", ""):
            url = parse_qs(asked.query).get("url", ["/"])[0]
            kind, text = "text/html; charset=utf-8", page(url, self.base, self.hub)
        else:
            kind, text = "application/json", json.dumps({"message": AWAY}) + "\n"
        body = text.encode()
        self.send_response(
            int(status) if status in ("502", "504") else HTTPStatus.SERVICE_UNAVAILABLE
        )
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Retry-After", str(AGAIN))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: URLs may hold tokens, and the proxy logs its errors."""


def tell_systemd() -> None:
    """That the proxy may start. Rule: sd_notify(3)."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(b"READY=1", "\0" + path[1:] if path.startswith("@") else path)


def main() -> None:
    port, Pages.base, *hub = sys.argv[1:]
    Pages.hub = "".join(hub)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Pages)
    tell_systemd()
    server.serve_forever()


if __name__ == "__main__":
    main()
