#!/usr/bin/python3 -I
"""Print what a provider of OpenID Connect says of itself, as JSON: ISSUER [PEM TEXT…]

Runs on the control machine, or by the interpreter of a host. It fails with one line of words.
Rule: OpenID Connect Discovery 1.0, 4.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request

NEEDED = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
#: With it the provider gives tokens that outlast its own session (OpenID Connect Core 1.0, 11)
LASTING = "offline_access"
#: Seconds, and bytes of the document
PATIENCE, MOST = 10, 1 << 20


def address(issuer: str) -> str:
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def checked(issuer: str, text: bytes) -> dict[str, str]:
    """The addresses of a document. Raises ValueError where it is none, or of another provider."""
    try:
        document = json.loads(text)
        told = document["issuer"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{address(issuer)} is no document of OpenID Connect") from None
    if told != issuer:
        raise ValueError(f"{address(issuer)} is of the issuer {told!r}: set that")
    for name in NEEDED:
        if not str(document.get(name, "")).startswith("https://"):
            raise ValueError(f"{address(issuer)} has no {name} that begins with https://")
    wanted = (*NEEDED, "end_session_endpoint")
    found = {name: str(document[name]) for name in wanted if document.get(name)}
    scopes = document.get("scopes_supported")
    lasts = isinstance(scopes, list) and LASTING in scopes
    return found | ({"lasting_scope": LASTING} if lasts else {})


def main(issuer: str, *authorities: str) -> str:
    """The document's addresses; authorities may sign its certificate beside those that are known.

    Raises OSError and ValueError.
    """
    context = ssl.create_default_context()
    for text in authorities:
        context.load_verify_locations(cadata=text)
    with urllib.request.urlopen(address(issuer), timeout=PATIENCE, context=context) as answer:
        return json.dumps(checked(issuer, answer.read(MOST)))


if __name__ == "__main__":
    try:
        print(main(*sys.argv[1:]))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
