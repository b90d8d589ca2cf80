"""SAML 2.0 with one identity provider: requests to it, and what of its answers counts.

pysaml2 has the format and the signatures, which Debian's xmlsec1 checks. What an answer has to be
beside that is looked at here, before: a signature says nothing of what stands elsewhere in a
document, and pysaml2 7.5.5 takes an assertion without an audience, and any recipient.
Rules: SAML Core, Bindings and Profiles 2.0; for what may be in a signature Core, 5.4.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import logging
import re
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.sax.saxutils import escape, quoteattr

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT, saml, samlp
from saml2.attributemaps.saml_uri import MAP
from saml2.client import Saml2Client
from saml2.config import SPConfig
from saml2.metadata import create_metadata_string
from saml2.response import AuthnResponse
from saml2.s_utils import decode_base64_and_inflate
from saml2.sigver import verify_redirect_signature
from saml2.time_util import str_to_time
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

#: Bytes of an answer, elements within one another, and elements: a thousand groups fit
MOST, DEEPEST, ELEMENTS = 256 << 10, 30, 20_000
#: Seconds that clocks may differ by
SKEW = 60
#: Seconds that a person has for the provider's pages
PATIENCE = 900

_SAML, _SAMLP = "{urn:oasis:names:tc:SAML:2.0:assertion}", "{urn:oasis:names:tc:SAML:2.0:protocol}"
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_MORE, _ENC = "http://www.w3.org/2001/04/xmldsig-more#", "http://www.w3.org/2001/04/xmlenc#"
#: Without SHA-1, with which others can make the same signature (RFC 9231, 2), and without secrets
_SIGNATURES = {f"{_MORE}{kind}-sha{bits}" for kind in ("rsa", "ecdsa") for bits in (256, 384, 512)}
_DIGESTS = {f"{_ENC}sha256", f"{_ENC}sha512", f"{_MORE}sha384"}
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_TRANSFORMS = {f"{_DS[1:-1]}enveloped-signature", _EXCLUSIVE, f"{_EXCLUSIVE}WithComments"}
#: In their names, what an attribute is called everywhere: urn:oid:0.9.2342.… is uid
_FRIENDLY: Mapping[str, str] = MAP["fro"]

# it writes whole answers, and traces
logging.getLogger("saml2").setLevel(logging.CRITICAL + 1)


class RefusedError(Exception):
    """An answer that does not count: what is wrong with it, without what it says of anybody."""


class NotLoggedInError(Exception):
    """An answer which says that nobody was logged in, and why."""


@dataclass(frozen=True)
class Provider:
    """What its metadata says.

    + certificates: base64 of DER, of keys that it signs with.
    + signed_requests: whether it wants them signed.
    """

    entity_id: str
    login_url: str
    certificates: tuple[str, ...]
    logout_url: str = ""
    signed_requests: bool = False


@dataclass(frozen=True)
class Service:
    """Ourselves: a name, the addresses for answers and for logouts, and files in PEM."""

    entity_id: str
    answers_url: str
    logout_url: str
    key_file: str
    certificate_file: str


@dataclass(frozen=True)
class Login:
    """What a good answer says of somebody.

    + request: that it answers.
    + name_id: the element, for a logout.
    + account: the NameID where that is nobody else's ever (persistent), with whose it is.
    + session: the provider's, for a logout.
    + ends: when the provider says that the session ends (time.time).
    """

    request: str
    name_id: str
    name: str
    account: str | None
    session: str
    ends: float | None
    attributes: Mapping[str, tuple[str, ...]]


def _short(value: object) -> str:
    return repr(str(value)[:100])


def _seconds(value: str) -> float:
    try:
        return calendar.timegm(str_to_time(value))
    except (AttributeError, TypeError, ValueError):
        raise RefusedError(f"it has a time that is none: {_short(value)}") from None


def _in_time(begin: str | None, end: str | None) -> None:
    now = time.time()
    if end and _seconds(end) + SKEW <= now:
        raise RefusedError(f"it has ended ({_short(end)})")
    if begin and _seconds(begin) - SKEW > now:
        raise RefusedError(f"it does not hold yet ({_short(begin)}): is a clock wrong?")


def text_of(sent: bytes) -> str:
    """The document of a form's field. Raises RefusedError."""
    if len(sent) > MOST * 4 // 3 + 1000:
        raise RefusedError(f"it is longer than {MOST} bytes")
    try:
        text = base64.b64decode(re.sub(rb"\s", b"", sent), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise RefusedError("it is no UTF-8 in base64") from None
    # a declaration is not signed, and could have xmlsec1 read other characters than we
    return re.sub(r"\A\ufeff?\s*<\?xml[^>]*\?>", "", text, count=1).lstrip()


def _elements(root: Element) -> Iterator[Element]:
    """All of them. Raises RefusedError for what is in no answer."""
    found, seen = [(root, 1)], 0
    while found:
        element, depth = found.pop()
        seen += 1
        if not isinstance(element.tag, str):
            raise RefusedError("it has a comment or an instruction within it")
        if depth > DEEPEST or seen > ELEMENTS:
            raise RefusedError("it has too many elements, or too many within one another")
        yield element
        found.extend((child, depth + 1) for child in element)


def parsed(text: str) -> Element:
    """The document as a tree, with comments. Raises RefusedError for what is not well-formed."""
    parser = DefusedXMLParser(
        target=TreeBuilder(insert_comments=True, insert_pis=True), forbid_dtd=True
    )
    try:
        parser.feed(text)
        root: Element = parser.close()
    except DefusedXmlException:
        raise RefusedError("it has a document type, and with that entities") from None
    except (ParseError, ValueError):
        raise RefusedError("it is no XML") from None
    return root


def refuse_other_shapes(root: Element) -> None:
    """Whatever a verified signature would not cover is to have no place. Raises RefusedError.

    One assertion, right below the answer; signatures only of these two, each of the whole element
    that it is in; no ID twice. So there is no second assertion for one program to verify and the
    other to read (signature wrapping).
    """
    if root.tag != f"{_SAMLP}Response":
        raise RefusedError("it is no Response of SAML 2.0")
    ids: set[str] = set()
    counts = {f"{_SAML}Assertion": 0, f"{_SAMLP}Response": 0, f"{_DS}Signature": 0}
    for element in _elements(root):
        name = element.tag.rpartition("}")[2]
        if name.startswith("Encrypted"):
            raise RefusedError("it is encrypted: have the provider sign, and not encrypt")
        for key, value in element.attrib.items():
            if key.rpartition("}")[2].lower() == "id":
                if value in ids:
                    raise RefusedError("it has an ID twice")
                ids.add(value)
        # in whatever namespace: nothing else is called so
        for tag in counts:
            if name == tag.rpartition("}")[2]:
                if element.tag != tag:
                    raise RefusedError(f"it has a {name} of another kind")
                counts[tag] += 1
    assertions = root.findall(f"{_SAML}Assertion")
    if len(assertions) != 1 or counts[f"{_SAML}Assertion"] != 1:
        raise RefusedError("it has not one assertion, right below it")
    if counts[f"{_SAMLP}Response"] != 1:
        raise RefusedError("it has another answer within it")
    signed = {element: element.findall(f"{_DS}Signature") for element in (root, assertions[0])}
    if len(signed[assertions[0]]) != 1:
        raise RefusedError("its assertion has no signature, or several: have the provider sign it")
    if counts[f"{_DS}Signature"] != sum(map(len, signed.values())) or len(signed[root]) > 1:
        raise RefusedError("it has a signature in another place")
    for element, signatures in signed.items():
        for signature in signatures:
            _refuse_other_signatures(signature, element.get("ID", ""))


def _refuse_other_signatures(signature: Element, of: str) -> None:
    """Raises RefusedError for one of anything but the whole element with the ID `of`."""
    tags = [child.tag.removeprefix(_DS) for child in signature]
    if tags not in (["SignedInfo", "SignatureValue"], ["SignedInfo", "SignatureValue", "KeyInfo"]):
        raise RefusedError("its signature has other parts than one has")
    info = signature[0]
    tags = [child.tag.removeprefix(_DS) for child in info]
    if tags != ["CanonicalizationMethod", "SignatureMethod", "Reference"]:
        raise RefusedError("its signature is of several things")
    reference = info[2]
    if not of or reference.get("URI") != f"#{of}":
        raise RefusedError("its signature is of another element")
    methods = [info[0], *reference.iterfind(f"{_DS}Transforms/{_DS}Transform")]
    for method in methods:
        if method.get("Algorithm") not in _TRANSFORMS or any(
            child.tag != f"{{{_EXCLUSIVE}}}InclusiveNamespaces" for child in method
        ):
            raise RefusedError("its signature has a transform that none needs")
    digests = [one.get("Algorithm") for one in reference.iterfind(f"{_DS}DigestMethod")]
    for algorithm in (info[1].get("Algorithm"), *digests):
        if algorithm not in _SIGNATURES | _DIGESTS:
            raise RefusedError(f"it is signed by {_short(algorithm)}: SHA-256 or better is needed")


def refuse_failures(root: Element) -> None:
    """Raises NotLoggedInError with the provider's reason."""
    codes = [code.get("Value", "") for code in root.iterfind(f"{_SAMLP}Status//{_SAMLP}StatusCode")]
    if not codes or codes[0] != _SUCCESS:
        raise NotLoggedInError(_short(" ".join(code.rpartition(":")[2] for code in codes)))


class Answers:
    """Requests to a provider, and its answers."""

    def __init__(self, provider: Provider, service: Service, xmlsec1: str) -> None:
        self._provider, self._service = provider, service
        self._config: Any = SPConfig().load(_configuration(provider, service, xmlsec1))
        # reads schemas for seconds: not while somebody waits
        self._client: Any = Saml2Client(config=self._config)
        #: Assertions that were taken, with the moment at which their requests are too old
        self._taken: dict[str, float] = {}
        self._lock = threading.Lock()

    @cached_property
    def metadata(self) -> bytes:
        """What the provider has to know of us."""
        made: bytes = create_metadata_string(None, config=self._config)
        return made

    def _led_to(
        self,
        url: str,
        message: object,
        relay_state: str = "",
        *,
        response: bool = False,
        sign: bool,
    ) -> str:
        """An address with a message in it (Bindings, 3.4)."""
        made = self._client.apply_binding(
            BINDING_HTTP_REDIRECT,
            str(message),
            url,
            relay_state,
            response=response,
            sign=sign,
            sigalg=SIG_RSA_SHA256,
        )
        return str(dict(made["headers"])["Location"])

    def request(self) -> tuple[str, str]:
        """A new request's ID, and where it leads to."""
        name, url = f"_{secrets.token_hex(20)}", self._provider.login_url
        _, message = self._client.create_authn_request(
            url, message_id=name, binding=BINDING_HTTP_POST, sign=False
        )
        return name, self._led_to(url, message, sign=self._provider.signed_requests)

    def checked(self, sent: bytes, requests: Collection[str]) -> Login:
        """What an answer says, which has to be to one of the requests. It counts once.

        Raises RefusedError for one that does not count, and NotLoggedInError.
        """
        text = text_of(sent)
        root = parsed(text)
        if root.get("InResponseTo") not in requests:
            raise RefusedError("it answers no request that this browser began lately")
        refuse_failures(root)
        refuse_other_shapes(root)
        request = root.attrib["InResponseTo"]
        response = samlp.response_from_string(text)
        if response is None or not response.assertion:
            raise RefusedError("it is no Response of SAML 2.0")
        self._refuse_what_is_not_ours(response, request)
        self._refuse_bad_signatures(text, request)
        assertion = response.assertion[0]
        self._take_once(assertion.id)
        return _login(assertion, request)

    def _refuse_what_is_not_ours(self, response: Any, request: str) -> None:
        assertion, service = response.assertion[0], self._service
        issuers = [_text(one.issuer) for one in (response, assertion) if one.issuer]
        if not assertion.issuer or set(issuers) != {self._provider.entity_id}:
            raise RefusedError(f"it is of another issuer: {_short(issuers)}")
        if response.destination != service.answers_url and (
            response.destination or response.signature
        ):
            raise RefusedError(f"it is for another address: {_short(response.destination)}")
        conditions = assertion.conditions
        if not conditions or not conditions.audience_restriction:
            raise RefusedError("it does not say whom it is for (AudienceRestriction)")
        for restriction in conditions.audience_restriction:
            audiences = [_text(audience) for audience in restriction.audience]
            if service.entity_id not in audiences:
                raise RefusedError(f"it is for another service: {_short(audiences)}")
        _in_time(conditions.not_before, conditions.not_on_or_after)
        if not assertion.authn_statement:
            raise RefusedError("it says of nobody that they logged in (AuthnStatement)")
        for statement in assertion.authn_statement:
            _in_time(None, statement.session_not_on_or_after)
        self._refuse_others_confirmations(assertion, request)

    def _refuse_others_confirmations(self, assertion: Any, request: str) -> None:
        """As Profiles, 4.1.4.3 has it, and for all of them."""
        confirmations = assertion.subject.subject_confirmation if assertion.subject else []
        if not confirmations:
            raise RefusedError("it does not say who may bring it (SubjectConfirmation)")
        for confirmation in confirmations:
            data = confirmation.subject_confirmation_data
            if confirmation.method != _BEARER or not data:
                raise RefusedError("not everybody who has it may bring it (not bearer)")
            if data.recipient != self._service.answers_url:
                raise RefusedError(f"it is for another address: {_short(data.recipient)}")
            if data.in_response_to != request:
                raise RefusedError("its assertion answers another request")
            if not data.not_on_or_after:
                raise RefusedError("it does not say how long it holds")
            _in_time(data.not_before, data.not_on_or_after)

    def _refuse_bad_signatures(self, text: str, request: str) -> None:
        answer = AuthnResponse(
            self._client.sec,
            self._config.attribute_converters,
            self._service.entity_id,
            return_addrs=[self._service.answers_url],
            outstanding_queries={request: ""},
            timeslack=SKEW,
            want_assertions_signed=True,
            allow_unknown_attributes=True,
        )
        try:
            answer.loads(text, False)
            good = answer.verify()
        except Exception as error:
            # anything at all, with the whole answer among its words
            raise RefusedError(
                f"its signature, or its form, does not hold ({type(error).__name__})"
            ) from None
        if not good:
            raise RefusedError("its signature, or its form, does not hold")

    def _take_once(self, assertion: str) -> None:
        """Raises RefusedError for one that was taken; older ones are to no request of by now."""
        now = time.time()
        with self._lock:
            self._taken = {one: end for one, end in self._taken.items() if end > now}
            if assertion in self._taken:
                raise RefusedError("it was here before")
            self._taken[assertion] = now + PATIENCE + SKEW

    def logout(self, name_id: str, session: str) -> str:
        """Where a logout of the provider's begins (Profiles, 4.4); empty where it has none."""
        url = self._provider.logout_url
        if not url:
            return ""
        _, message = self._client.create_logout_request(
            url,
            self._provider.entity_id,
            name_id=saml.name_id_from_string(name_id),
            session_indexes=[session] if session else None,
            sign=False,
        )
        return self._led_to(url, message, sign=True)

    def asked_to_log_out(self, query: Mapping[str, str]) -> tuple[str, str]:
        """Whom the provider logs out everywhere (a NameID), and where our answer leads.

        Raises RefusedError.
        """
        if query.get("SigAlg") not in _SIGNATURES or not query.get("Signature"):
            raise RefusedError("the request for a logout is not signed by SHA-256 or better")
        try:
            signed = any(
                verify_redirect_signature(dict(query), self._client.sec.sec_backend, certificate)
                for certificate in self._provider.certificates
            )
            # of megabytes only if they are the provider's
            message = signed and samlp.logout_request_from_string(
                decode_base64_and_inflate(query["SAMLRequest"])
            )
        except Exception as error:
            raise RefusedError(
                f"the request for a logout is none ({type(error).__name__})"
            ) from None
        if not message or not message.name_id:
            raise RefusedError("the request for a logout is not the provider's")
        if _text(message.issuer) != self._provider.entity_id:
            raise RefusedError("the request for a logout is of another issuer")
        if message.destination != self._service.logout_url:
            raise RefusedError("the request for a logout is for another address")
        _in_time(None, message.not_on_or_after)
        answer = self._client.create_logout_response(message, [BINDING_HTTP_REDIRECT], sign=False)
        url = self._led_to(
            self._provider.logout_url, answer, query.get("RelayState", ""), response=True, sign=True
        )
        return _text(message.name_id), url


def _text(element: Any) -> str:
    return (element.text or "").strip() if element is not None else ""


def _login(assertion: Any, request: str) -> Login:
    """What a verified assertion says."""
    attributes: dict[str, list[str]] = {}
    for statement in assertion.attribute_statement:
        for attribute in statement.attribute:
            values = [text for text in map(_text, attribute.attribute_value) if text]
            for name in {attribute.name, _FRIENDLY.get(attribute.name, attribute.name)}:
                attributes.setdefault(name, []).extend(values)
    name_id = assertion.subject.name_id
    persistent = name_id is not None and name_id.format == saml.NAMEID_FORMAT_PERSISTENT
    whose = (name_id.name_qualifier, name_id.sp_name_qualifier) if persistent else ()
    statements = assertion.authn_statement
    ends = [
        _seconds(one.session_not_on_or_after) for one in statements if one.session_not_on_or_after
    ]
    return Login(
        request=request,
        name_id=str(name_id) if name_id is not None else "",
        name=_text(name_id),
        account=" ".join([*(part or "" for part in whose), _text(name_id)]) if persistent else None,
        session=statements[0].session_index or "",
        ends=min(ends, default=None),
        attributes={name: tuple(dict.fromkeys(of)) for name, of in attributes.items()},
    )


def _configuration(provider: Provider, service: Service, xmlsec1: str) -> dict[str, Any]:
    """Of pysaml2."""
    return {
        "entityid": service.entity_id,
        "xmlsec_binary": xmlsec1,
        "key_file": service.key_file,
        "cert_file": service.certificate_file,
        # an answer is encrypted for who gives a key for that
        "metadata_key_usage": "signing",
        "signing_algorithm": SIG_RSA_SHA256,
        "digest_algorithm": DIGEST_SHA256,
        "allow_unknown_attributes": True,
        "metadata": {"inline": [_metadata(provider)]},
        "service": {
            "sp": {
                "endpoints": {
                    "assertion_consumer_service": [(service.answers_url, BINDING_HTTP_POST)],
                    "single_logout_service": [(service.logout_url, BINDING_HTTP_REDIRECT)],
                },
                "want_assertions_signed": True,
                "authn_requests_signed": provider.signed_requests,
            }
        },
    }


def _metadata(provider: Provider) -> str:
    """The provider, as pysaml2 wants to be told of it."""
    keys = "".join(
        f'<KeyDescriptor use="signing"><KeyInfo xmlns="{_DS[1:-1]}"><X509Data><X509Certificate>'
        f"{escape(one)}</X509Certificate></X509Data></KeyInfo></KeyDescriptor>"
        for one in provider.certificates
    )
    out = provider.logout_url and (
        f'<SingleLogoutService Binding="{BINDING_HTTP_REDIRECT}"'
        f" Location={quoteattr(provider.logout_url)}/>"
    )
    return (
        '<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata"'
        f" entityID={quoteattr(provider.entity_id)}>"
        f'<IDPSSODescriptor protocolSupportEnumeration="{samlp.NAMESPACE}">{keys}{out}'
        f'<SingleSignOnService Binding="{BINDING_HTTP_REDIRECT}"'
        f" Location={quoteattr(provider.login_url)}/></IDPSSODescriptor></EntityDescriptor>"
    )
