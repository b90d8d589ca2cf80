"""An identity provider of SAML 2.0, by pysaml2: its metadata, and what it answers.

On a lab host Debian's own pysaml2 runs it (saml_server.py).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saml2 import BINDING_HTTP_REDIRECT, class_name, saml, samlp
from saml2.authn_context import PASSWORDPROTECTEDTRANSPORT
from saml2.config import IdPConfig
from saml2.metadata import create_metadata_string
from saml2.server import Server
from saml2.sigver import pre_signature_part
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

URI = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
#: uid, by its formal name
UID = "urn:oid:0.9.2342.19200300.100.1.1"


class SamlIdp:
    """The provider at `url`, for services whose metadata are files."""

    def __init__(self, url: str, key: Path, certificate: Path, services: Sequence[str] = ()):
        self.entity_id = f"{url}/metadata"
        self._settings: dict[str, Any] = {
            "entityid": self.entity_id,
            "xmlsec_binary": "/usr/bin/xmlsec1",
            "key_file": str(key),
            "cert_file": str(certificate),
            "metadata_key_usage": "signing",
            "signing_algorithm": SIG_RSA_SHA256,
            "digest_algorithm": DIGEST_SHA256,
            "metadata": {"local": list(services)},
            "service": {
                "idp": {
                    "endpoints": {
                        "single_sign_on_service": [(f"{url}/login", BINDING_HTTP_REDIRECT)],
                        "single_logout_service": [(f"{url}/logout", BINDING_HTTP_REDIRECT)],
                    },
                    "policy": {"default": {"lifetime": {"minutes": 5}}},
                }
            },
        }
        self.server = Server(config=IdPConfig().load(self._settings))

    def metadata(self) -> bytes:
        made: bytes = create_metadata_string(None, config=self.server.config)
        return made

    def answer(
        self,
        request: str,
        acs: str,
        service: str,
        name: str,
        attributes: Mapping[str, Sequence[str]],
        *,
        name_format: str = saml.NAMEID_FORMAT_UNSPECIFIED,
        change: Callable[[Any], None] = lambda response: None,
        rewrite: Callable[[str], str] = lambda text: text,
        sign: bool = True,
        algorithms: tuple[str, str] = (SIG_RSA_SHA256, DIGEST_SHA256),
    ) -> str:
        """An answer about somebody.

        + change: what to do to the response, and `rewrite` to its text, before it is signed.
        """
        response = self.server.create_authn_response(
            {},
            request,
            acs,
            service,
            name_id=saml.NameID(text=name, format=name_format),
            authn={"class_ref": PASSWORDPROTECTEDTRANSPORT, "authn_auth": self.entity_id},
            sign_response=False,
            sign_assertion=False,
        )
        # as it is read: lists where several may be
        response = samlp.response_from_string(str(response))
        assertion = response.assertion[0]
        assertion.attribute_statement = [
            saml.AttributeStatement(
                attribute=[
                    saml.Attribute(
                        name=key,
                        name_format=URI,
                        attribute_value=[saml.AttributeValue(text=one) for one in values],
                    )
                    for key, values in attributes.items()
                ]
            )
        ]
        change(response)
        if not sign:
            return rewrite(str(response))
        assertion.signature = pre_signature_part(
            assertion.id,
            re.sub("-----[^-]*-----|\n", "", self.server.sec.my_cert),
            1,
            sign_alg=algorithms[0],
            digest_alg=algorithms[1],
        )
        text = rewrite(str(response))
        signed: str = self.server.sec.sign_statement(
            text, class_name(assertion), node_id=assertion.id
        )
        return signed


def sent(text: str) -> str:
    """As a form has it (Bindings, 3.5.4)."""
    return base64.b64encode(text.encode()).decode()
