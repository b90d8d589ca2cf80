"""What a provider of OpenID Connect says of itself, and what is none."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from hubstead.operations import openid, providers
from programs.openid_document import NEEDED, checked, main
from tests.kit.certificates import names_extension, sign

ISSUER = "https://login.example.org/realms/lab"
HOST = '{"token_endpoint": "of the host"}'
WHOLE = {"issuer": ISSUER, **{name: f"{ISSUER}/{name}" for name in NEEDED}}


def text(**other: Any) -> bytes:
    return json.dumps(WHOLE | other).encode()


def test_the_addresses_are_what_counts() -> None:
    addresses = checked(ISSUER, text(scopes_supported=["openid"]))
    assert addresses == {name: WHOLE[name] for name in NEEDED}
    more = checked(
        ISSUER,
        text(end_session_endpoint=f"{ISSUER}/end", scopes_supported=["openid", "offline_access"]),
    )
    assert more["lasting_scope"] == "offline_access"
    assert more["end_session_endpoint"] == f"{ISSUER}/end"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"<html>", "no document of OpenID Connect"),
        (b"[]", "no document of OpenID Connect"),
        (text(issuer="https://evil.example.org"), "of the issuer 'https://evil.example.org'"),
        (text(issuer=f"{ISSUER}/"), "set that"),
        (text(token_endpoint="http://login.example.org/t"), "no token_endpoint that begins"),
        (text(userinfo_endpoint=None), "no userinfo_endpoint"),
    ],
)
def test_another_document_is_refused(document: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checked(ISSUER, document)


class Answers(BaseHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        issuer = f"https://localhost:{self.server.server_address[1]}/realms/lab"
        found = self.path == "/realms/lab/.well-known/openid-configuration"
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(text(issuer=issuer))


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An issuer that answers, and the certificate of its authority."""
    signed = sign("a provider", None, names_extension(["localhost"]))
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(signed.pem)
    key.write_bytes(signed.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}/realms/lab", certificate
        server.shutdown()


def test_a_provider_is_asked_whose_certificate_is_known(
    provider: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "localhost")
    issuer, authority = provider
    found = json.loads(main(issuer, authority.read_text()))
    assert found["token_endpoint"] == f"{ISSUER}/token_endpoint"
    with pytest.raises(OSError, match="certificate verify failed"):
        main(issuer)
    with pytest.raises(OSError, match="404"):
        main(f"{issuer}/other", authority.read_text())


def test_the_control_machine_asks_first_and_then_the_host(
    provider: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "localhost")
    issuer, authority = provider
    monkeypatch.setattr(providers, "host", SimpleNamespace(name="hub", get_fact=lambda *_: HOST))
    assert openid.document(issuer, [authority])["token_endpoint"] == f"{ISSUER}/token_endpoint"
    assert openid.document(issuer, []) == {"token_endpoint": "of the host"}
    monkeypatch.setattr(
        providers, "host", SimpleNamespace(name="hub", get_fact=lambda *_: "no route")
    )
    with pytest.raises(PyinfraError, match=r"no host was touched.*verify failed.*hub: no route"):
        openid.document(issuer, [])
