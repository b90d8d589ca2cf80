"""`python3 saml_server.py DIRECTORY`: the provider of people.json there, by SAML, on loopback.

server.mjs passes /saml/ on to it. Who may ask it are the metadata files in DIRECTORY/services.
"""

from __future__ import annotations

import html
import json
import os
import secrets
import sys
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from saml2 import BINDING_HTTP_REDIRECT, saml
from saml2.sigver import verify_redirect_signature
from saml2.xmldsig import SIG_RSA_SHA256
from saml_idp import UID, SamlIdp, sent

ETC = Path(sys.argv[1])
CREDENTIALS = Path(os.environ["CREDENTIALS_DIRECTORY"])
FORM = """<!DOCTYPE html><title>Log in</title><h1>Log in by SAML</h1>{complaint}
<form method="post" action="{action}">
<label>Username <input name="username" autocomplete="off" autofocus></label>
<label>Password <input name="password" type="password"></label>
<button>Log in</button></form>"""
HAND_ON = """<!DOCTYPE html><title>One moment</title>
<form method="post" action="{action}"><input type="hidden" name="SAMLResponse" value="{answer}">
<button>Go on</button></form><script>document.forms[0].submit()</script>"""


class Server(ThreadingHTTPServer):
    """Sessions by what only their browsers know."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 8081), Answers)
        self.sessions: dict[str, str] = {}
        self._idp: tuple[list[str], SamlIdp] | None = None

    @property
    def idp(self) -> SamlIdp:
        services = sorted(str(path) for path in (ETC / "services").glob("*.xml"))
        if self._idp is None or self._idp[0] != services:
            url = f"https://{json.loads((ETC / 'settings.json').read_text())['name']}/saml"
            key, certificate = CREDENTIALS / "saml-key", CREDENTIALS / "saml-certificate"
            self._idp = services, SamlIdp(url, key, certificate, services)
        return self._idp[1]


class Answers(BaseHTTPRequestHandler):
    server: Server

    def page(self, status: int, text: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    @property
    def session(self) -> str:
        found = SimpleCookie(self.headers.get("Cookie", "")).get("saml")
        return found.value if found else ""

    def people(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((ETC / "people.json").read_text())
        return found

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/saml/metadata":
            self.page(200, self.server.idp.metadata().decode(), Content_Type="application/xml")
        elif path == "/saml/login":
            name = self.server.sessions.get(self.session, "")
            if name in self.people():
                self.hand_on(name)
            else:
                self.page(200, FORM.format(complaint="", action=html.escape(self.path)))
        elif path == "/saml/logout":
            self.log_out()
        else:
            self.page(404, "nothing")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        fields = dict(parse_qsl(self.rfile.read(length).decode()))
        name = fields.get("username", "")
        person = self.people().get(name)
        if not person or person["password"] != fields.get("password"):
            complaint = '<p role="alert">There is nobody with this name and password.</p>'
            self.page(401, FORM.format(complaint=complaint, action=html.escape(self.path)))
            return
        session = secrets.token_hex(16)
        self.server.sessions[session] = name
        self.hand_on(name, Set_Cookie=f"saml={session}; Path=/saml; Secure; HttpOnly")

    def hand_on(self, name: str, **headers: str) -> None:
        """The page that sends the answer to the service."""
        idp, person = self.server.idp, self.people()[name]
        message = parse_qs(urlsplit(self.path).query)["SAMLRequest"][0]
        asked = idp.server.parse_authn_request(message, BINDING_HTTP_REDIRECT).message
        where = idp.server.response_args(asked)["destination"]
        answer = idp.answer(
            asked.id,
            where,
            asked.issuer.text,
            person["sub"],
            {UID: [name], "groups": person["groups"]},
            name_format=saml.NAMEID_FORMAT_PERSISTENT,
        )
        self.page(200, HAND_ON.format(action=html.escape(where), answer=sent(answer)), **headers)

    def log_out(self) -> None:
        """Of a service's, which has to be signed."""
        idp, query = self.server.idp, dict(parse_qsl(urlsplit(self.path).query))
        asked = idp.server.parse_logout_request(query["SAMLRequest"], BINDING_HTTP_REDIRECT).message
        (_, key), *_ = idp.server.metadata.certs(asked.issuer.text, "any", "signing")
        if not verify_redirect_signature(query, idp.server.sec.sec_backend, key):
            self.page(403, "not signed")
            return
        self.server.sessions.pop(self.session, None)
        answer = idp.server.create_logout_response(asked, [BINDING_HTTP_REDIRECT], sign=False)
        url = idp.server.response_args(asked, [BINDING_HTTP_REDIRECT])["destination"]
        made = idp.server.apply_binding(
            BINDING_HTTP_REDIRECT, str(answer), url, "", True, sign=True, sigalg=SIG_RSA_SHA256
        )
        self.page(302, "", Location=dict(made["headers"])["Location"])


Server().serve_forever()
