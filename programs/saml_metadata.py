#!/usr/bin/python3 -I
"""Print what an identity provider of SAML 2.0 says of itself, as JSON: ADDRESS [PEM TEXT…]

Runs on the control machine, or by the interpreter of a host. With - it reads the document from
standard input. It fails with one line of words.
Rule: SAML Metadata 2.0, 2.4.3.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import ssl
import sys
import urllib.request
from datetime import UTC, datetime
from xml.etree import ElementTree

MD, DS = "{urn:oasis:names:tc:SAML:2.0:metadata}", "{http://www.w3.org/2000/09/xmldsig#}"
SAML2 = "urn:oasis:names:tc:SAML:2.0:protocol"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
#: Seconds, and bytes of the document
PATIENCE, MOST = 10, 1 << 20


def checked(text: bytes) -> dict[str, object]:
    """What a document says of the one provider in it. Raises ValueError for another document."""
    # entities, which only a document type can have, are no part of metadata
    if len(text) > MOST or b"\0" in text or re.search(rb"<!\s*(DOCTYPE|ENTITY)", text):
        raise ValueError(f"no metadata of SAML: over {MOST} bytes, in UTF-16, or with a DOCTYPE")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        raise ValueError("no metadata of SAML: it is no XML") from None
    found = [
        (entity, role)
        for entity in root.iter(f"{MD}EntityDescriptor")
        for role in entity.iterfind(f"{MD}IDPSSODescriptor")
        if SAML2 in role.get("protocolSupportEnumeration", "").split()
    ]
    if len(found) != 1:
        raise ValueError(
            f"it describes {len(found)} identity providers of SAML 2.0, and has to describe one"
        )
    entity, role = found[0]
    for element in (root, entity, role):
        refuse_ended(element.get("validUntil"))
    certificates = keys(role)
    if not entity.get("entityID"):
        raise ValueError("it has no entityID")
    if not certificates:
        raise ValueError("it has no certificate of a key for signatures")
    login = address(role, "SingleSignOnService", "Location")
    if not login:
        raise ValueError("it has no SingleSignOnService for HTTP-Redirect")
    return {
        "entity_id": entity.get("entityID"),
        "login_url": login,
        "logout_url": address(role, "SingleLogoutService", "Location"),
        "certificates": certificates,
        "signed_requests": role.get("WantAuthnRequestsSigned") in ("true", "1"),
    }


def refuse_ended(until: str | None) -> None:
    """Raises ValueError where the moment (XML Schema, dateTime) is over."""
    if until is None:
        return
    try:
        end = datetime.fromisoformat(until)
    except ValueError:
        raise ValueError(f"its validUntil {until!r} is no time") from None
    if (end if end.tzinfo else end.replace(tzinfo=UTC)) <= datetime.now(UTC):
        raise ValueError(f"it has ended (validUntil {until})")


def keys(role: ElementTree.Element) -> list[str]:
    """Certificates of keys for signatures: base64 of DER."""
    found = []
    for key in role.iterfind(f"{MD}KeyDescriptor"):
        if key.get("use", "signing") != "signing":
            continue
        for element in key.iter(f"{DS}X509Certificate"):
            text = "".join((element.text or "").split())
            try:
                ssl.DER_cert_to_PEM_cert(base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                raise ValueError("a certificate in it is no base64") from None
            if text not in found:
                found.append(text)
    return found


def address(role: ElementTree.Element, service: str, attribute: str) -> str:
    """Where the provider is asked by a redirect, or nothing. Raises ValueError without HTTPS."""
    for element in role.iterfind(f"{MD}{service}"):
        if element.get("Binding") == REDIRECT:
            url = element.get(attribute, "")
            if not url.startswith("https://"):
                raise ValueError(f"its {service} {url!r} does not begin with https://")
            return url
    return ""


def main(source: str, *authorities: str) -> str:
    """What the document says; authorities may sign its certificate beside those that are known.

    Raises OSError and ValueError.
    """
    if source == "-":
        return json.dumps(checked(sys.stdin.buffer.read(MOST + 1)))
    context = ssl.create_default_context()
    for text in authorities:
        context.load_verify_locations(cadata=text)
    with urllib.request.urlopen(source, timeout=PATIENCE, context=context) as answer:
        if not answer.geturl().startswith("https://"):
            raise ValueError(f"{source} leads to {answer.geturl()}, which is not encrypted")
        return json.dumps(checked(answer.read(MOST + 1)))


if __name__ == "__main__":
    try:
        print(main(*sys.argv[1:]))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
