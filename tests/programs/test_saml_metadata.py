"""What a provider of SAML says of itself, and what is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hubstead.operations import providers
from programs.saml_metadata import DS, MD, MOST, REDIRECT, SAML2, checked

ONE = f"""<?xml version="1.0"?>
<EntityDescriptor xmlns="{MD[1:-1]}" entityID="https://login.example.org/idp">
  <IDPSSODescriptor WantAuthnRequestsSigned="true" protocolSupportEnumeration="{SAML2}">
    <KeyDescriptor use="signing"><k:KeyInfo xmlns:k="{DS[1:-1]}"><k:X509Data>
      <k:X509Certificate>TUlJ
        QQ==</k:X509Certificate></k:X509Data></k:KeyInfo></KeyDescriptor>
    <KeyDescriptor use="encryption"><k:KeyInfo xmlns:k="{DS[1:-1]}"><k:X509Data>
      <k:X509Certificate>T1RIRVI=</k:X509Certificate></k:X509Data></k:KeyInfo></KeyDescriptor>
    <SingleLogoutService Binding="{REDIRECT}" Location="https://login.example.org/out"/>
    <SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="x"/>
    <SingleSignOnService Binding="{REDIRECT}" Location="https://login.example.org/in?a=b"/>
  </IDPSSODescriptor>
</EntityDescriptor>"""


def test_what_counts_is_told() -> None:
    assert checked(ONE.encode()) == {
        "entity_id": "https://login.example.org/idp",
        "login_url": "https://login.example.org/in?a=b",
        "logout_url": "https://login.example.org/out",
        "certificates": ["TUlJQQ=="],
        "signed_requests": True,
    }
    wrapped = (
        f'<EntitiesDescriptor xmlns="{MD[1:-1]}">{ONE.partition("?>")[2]}</EntitiesDescriptor>'
    )
    assert checked(wrapped.encode()) == checked(ONE.encode())


def put(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: "", "it is no XML"),
        (lambda _: "<html/>", "describes 0 identity providers"),
        (lambda text: text * 2, "it is no XML"),
        (
            lambda text: f'<a xmlns="{MD[1:-1]}">{text.partition("?>")[2] * 2}</a>',
            "describes 2 identity providers",
        ),
        (put('<?xml version="1.0"?>', '<!DOCTYPE a [<!ENTITY b "c">]>'), "DOCTYPE"),
        (lambda text: text + " " * MOST, "over"),
        (put(SAML2, "urn:oasis:names:tc:SAML:1.1:protocol"), "describes 0"),
        (put('use="signing"', 'use="encryption"'), "no certificate"),
        (put("QQ==", "!"), "no base64"),
        (put("https://login.example.org/in", "http://login.example.org/in"), "https://"),
        (put("https://login.example.org/out", "javascript:x"), "https://"),
        (put(REDIRECT, "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"), "HTTP-Redirect"),
        (put(" entityID", ' validUntil="2020-01-01T00:00:00Z" entityID'), "has ended"),
        (put(" entityID", ' validUntil="soon" entityID'), "is no time"),
        (put('entityID="https://login.example.org/idp"', ""), "no entityID"),
    ],
)
def test_another_document_is_refused(change: Callable[[str], str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checked(change(ONE).encode())


def test_a_file_is_read_on_the_control_machine(tmp_path: Path) -> None:
    file = tmp_path / "idp.xml"
    file.write_text(ONE)
    found = providers.told_by_file("hub_saml_metadata", file, "saml_metadata.py")
    assert json.loads(json.dumps(found))["certificates"] == ["TUlJQQ=="]
