"""What of an identity provider's answers counts, with answers that pysaml2 makes and signs."""

from __future__ import annotations

import base64
import logging
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import pytest
from saml2 import saml, samlp
from saml2.time_util import instant
from saml2.xmldsig import DIGEST_SHA1, DIGEST_SHA256, SIG_RSA_SHA1, SIG_RSA_SHA256

from hubstead_hub.saml_answers import (
    MOST,
    PATIENCE,
    Answers,
    Login,
    NotLoggedInError,
    Provider,
    RefusedError,
    Service,
)
from tests.kit.identity_server.saml_idp import UID, SamlIdp, sent

HUB, ACS = "https://hub.example.org/hub/saml/metadata", "https://hub.example.org/hub/saml/acs"
IDP = "https://id.example.net/saml"
XMLSEC1 = "/usr/bin/xmlsec1"
GROUPS = "http://schemas.xmlsoap.org/claims/Group"
LATER, BEFORE = 4 * 60, 10 * 60


def pair(directory: Path, name: str) -> tuple[Path, Path]:
    """An RSA key and its certificate."""
    key, certificate = directory / f"{name}.key", directory / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
         "-days", "30", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, certificate


def base64_of(certificate: Path) -> str:
    return re.sub("-----[^-]*-----|\n", "", certificate.read_text())


class Case:
    """A provider, another one, and the service."""

    def __init__(self, directory: Path) -> None:
        key, certificate = pair(directory, "hub")
        service = Service(
            HUB, ACS, "https://hub.example.org/hub/saml/logout", str(key), str(certificate)
        )
        idp_pair = pair(directory, "idp")
        provider = Provider(
            f"{IDP}/metadata", f"{IDP}/login", (base64_of(idp_pair[1]),), f"{IDP}/logout"
        )
        self.service, self.provider = service, provider
        self.answers = self.new()
        metadata = directory / "hub.xml"
        metadata.write_bytes(self.answers.metadata)
        self.idp = SamlIdp(IDP, *idp_pair, [str(metadata)])
        self.thief = SamlIdp(IDP, *pair(directory, "thief"), [str(metadata)])
        self.other = SamlIdp("https://other.example.net", *idp_pair, [str(metadata)])

    def new(self, **changes: Any) -> Answers:
        return Answers(Provider(**vars(self.provider) | changes), self.service, XMLSEC1)

    def answer(
        self,
        name: str = "ada",
        attributes: Mapping[str, Sequence[str]] | None = None,
        acs: str = ACS,
        service: str = HUB,
        idp: SamlIdp | None = None,
        **options: Any,
    ) -> str:
        told = attributes if attributes is not None else {UID: ["ada"], GROUPS: ["lab"]}
        return (idp or self.idp).answer("_mine", acs, service, name, told, **options)

    def checked(self, text: str, *requests: str) -> Login:
        return self.answers.checked(sent(text).encode(), requests or ("_mine",))

    def refused(self, text: str, *requests: str) -> str:
        with pytest.raises(RefusedError) as error:
            self.checked(text, *requests)
        return str(error.value)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("saml"))


def test_a_good_answer_tells_of_somebody(case: Case) -> None:
    groups = [f"group {number}" for number in range(1000)]
    login = case.checked(
        case.answer("id of ada", {UID: ["ada"], GROUPS: groups}), "_mine", "_of_a_tab"
    )
    assert (login.request, login.name, login.account, login.ends) == (
        "_mine",
        "id of ada",
        None,
        None,
    )
    assert login.attributes["uid"] == login.attributes[UID] == ("ada",)
    assert login.attributes[GROUPS] == tuple(groups)
    assert login.session


def test_a_persistent_name_is_an_account(case: Case) -> None:
    login = case.checked(case.answer("5e0f", name_format=saml.NAMEID_FORMAT_PERSISTENT))
    assert login.account and login.account.endswith("5e0f")


def test_an_answer_counts_once(case: Case) -> None:
    text = case.answer()
    case.checked(text)
    assert case.refused(text) == "it was here before"


def test_an_answer_to_another_browser_is_refused(case: Case) -> None:
    text = case.answer()
    assert "no request that this browser began" in case.refused(text, "_anothers")
    # what is not signed says that it is ours
    moved = text.replace('InResponseTo="_mine"', 'InResponseTo="_victims"', 1)
    assert "answers another request" in case.refused(moved, "_victims")


def times(name: str, **shifts: int) -> Callable[[Any], None]:
    """Seconds by which what is named in an assertion is from now."""

    def change(response: Any) -> None:
        assertion = response.assertion[0]
        confirmation = assertion.subject.subject_confirmation[0].subject_confirmation_data
        of = {
            "conditions": assertion.conditions,
            "confirmation": confirmation,
            "statement": assertion.authn_statement[0],
        }
        for field, seconds in shifts.items():
            setattr(of[name], field, instant(time_stamp=int(time.time()) + seconds))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (times("conditions", not_before=-700, not_on_or_after=-61), "has ended"),
        (times("conditions", not_before=61 + 5, not_on_or_after=LATER), "does not hold yet"),
        (times("confirmation", not_on_or_after=-61), "has ended"),
        (times("confirmation", not_before=61 + 5), "does not hold yet"),
        (times("statement", session_not_on_or_after=-61), "has ended"),
        (
            lambda response: setattr(
                response.assertion[0].conditions, "not_on_or_after", "soon\nand another line"
            ),
            "a time that is none: 'soon\\nand another line'",
        ),
    ],
)
def test_an_answer_of_another_time_is_refused(
    case: Case, change: Callable[[Any], None], words: str
) -> None:
    assert words in case.refused(case.answer(change=change))


@pytest.mark.parametrize(
    "change",
    [
        times("conditions", not_before=-700, not_on_or_after=-40),
        times("conditions", not_before=40),
        times("confirmation", not_on_or_after=-40),
    ],
)
def test_clocks_may_differ_a_little(case: Case, change: Callable[[Any], None]) -> None:
    assert case.checked(case.answer(change=change)).name == "ada"


def test_the_provider_says_how_long(case: Case) -> None:
    login = case.checked(case.answer(change=times("statement", session_not_on_or_after=LATER)))
    assert login.ends and abs(login.ends - time.time() - LATER) < 5


def changed(path: str, value: Any) -> Callable[[Any], None]:
    """Something within an assertion is another."""

    def change(response: Any) -> None:
        *way, last = path.split(".")
        found = response.assertion[0]
        for step in way:
            found = found[int(step)] if step.isdigit() else getattr(found, step)
        setattr(found, last, value)

    return change


CONFIRMATION = "subject.subject_confirmation.0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed("conditions", None), "does not say whom it is for"),
        (changed("conditions.audience_restriction", []), "does not say whom it is for"),
        (changed("subject.subject_confirmation", []), "who may bring it"),
        (changed(f"{CONFIRMATION}.subject_confirmation_data", None), "not bearer"),
        (
            changed(f"{CONFIRMATION}.method", "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"),
            "not bearer",
        ),
        (changed(f"{CONFIRMATION}.subject_confirmation_data.recipient", None), "another address"),
        (changed(f"{CONFIRMATION}.subject_confirmation_data.recipient", HUB), "another address"),
        (
            changed(f"{CONFIRMATION}.subject_confirmation_data.in_response_to", None),
            "another request",
        ),
        (changed(f"{CONFIRMATION}.subject_confirmation_data.not_on_or_after", None), "how long"),
        (changed("authn_statement", []), "logged in"),
    ],
)
def test_what_an_assertion_has_to_say(
    case: Case, change: Callable[[Any], None], words: str
) -> None:
    assert words in case.refused(case.answer(change=change))


def test_an_answer_for_others_is_refused(case: Case) -> None:
    assert "another address" in case.refused(case.answer(acs="https://evil.example.org/acs"))
    # and of the answer itself, which is not signed
    text = case.answer().replace(f'Destination="{ACS}"', 'Destination="https://evil.example.org"')
    assert "another address" in case.refused(text)

    def other(response: Any) -> None:
        audience = response.assertion[0].conditions.audience_restriction[0].audience[0]
        audience.text = "https://evil.example.org"

    assert "another service" in case.refused(case.answer(change=other))

    def both(response: Any) -> None:
        restrictions = response.assertion[0].conditions.audience_restriction
        restrictions.append(
            saml.AudienceRestriction(audience=[saml.Audience(text="https://evil.example.org")])
        )

    assert "another service" in case.refused(case.answer(change=both))


def test_an_answer_of_others_is_refused(case: Case) -> None:
    assert "another issuer" in case.refused(case.answer(idp=case.other))
    assert "signature" in case.refused(case.answer(idp=case.thief))


def test_unsigned_and_changed_answers_are_refused(case: Case) -> None:
    assert "no signature" in case.refused(case.answer(sign=False))
    text = case.answer("ada")
    assert "does not hold" in case.refused(text.replace(">ada<", ">admin<"))
    # the signature taken away, or of the answer alone
    without = re.sub(r"<(ns\d+:Signature) .*?</\1>", "", text, flags=re.DOTALL)
    assert without != text and "no signature" in case.refused(without)


def test_weak_signatures_are_refused(case: Case) -> None:
    for algorithms in ((SIG_RSA_SHA1, DIGEST_SHA256), (SIG_RSA_SHA256, DIGEST_SHA1)):
        assert "SHA-256 or better" in case.refused(case.answer(algorithms=algorithms))


def assertion_of(text: str) -> str:
    found = re.search(r"<(ns\d+:Assertion)\b.*</\1>", text, re.DOTALL)
    assert found
    return found.group()


def evil_of(assertion: str, *, signed: bool = False) -> str:
    """The same about somebody else, with another ID."""
    evil = re.sub(r'(<ns\d+:Assertion[^>]* ID=")[^"]*"', r'\1_evil"', assertion).replace(
        ">ada<", ">admin<"
    )
    assert evil != assertion
    return evil if signed else re.sub(r"<(ns\d+:Signature)\b.*</\1>", "", evil, flags=re.DOTALL)


class TestWrapped:
    """The eight forms of "On Breaking SAML" (Somorovsky and others, 2012), and some more."""

    @staticmethod
    def wrapped(form: str, text: str) -> str:
        good = assertion_of(text)
        evil = evil_of(good)
        signature = re.search(r"<(ns\d+:Signature)\b.*</\1>", good, re.DOTALL)
        assert signature
        bare = good.replace(signature.group(), "")
        end = re.search(r"</ns\d+:Assertion>$", evil)
        head = re.match(r"<ns\d+:Assertion[^>]*>", evil)
        assert end and head
        inside = evil.removesuffix(end.group())
        name = good.partition(' ID="')[2].partition('"')[0]
        ext = '<e:Extensions xmlns:e="urn:oasis:names:tc:SAML:2.0:protocol">{}</e:Extensions>'
        thing = '<e:Object xmlns:e="http://www.w3.org/2000/09/xmldsig#">{}</e:Object>'
        closing = re.search(r"</ns\d+:Signature>$", signature.group())
        assert closing
        in_object = (
            signature.group().removesuffix(closing.group()) + thing.format(bare) + closing.group()
        )
        forms = {
            # a second one before, or behind
            "before": evil + good,
            "behind": good + evil,
            # the signed one within the other, and the other within it
            "within": inside + good + end.group(),
            "around": good.replace(end.group(), evil + end.group()),
            # the other with the signature of the first
            "with the signature": inside + signature.group() + bare + end.group(),
            "in an object": inside + in_object + end.group(),
            "in an extension": ext.format(good) + evil,
            "in advice": inside + "<a:Advice xmlns:a='urn:oasis:names:tc:SAML:2.0:assertion'>"
            + good + "</a:Advice>" + end.group(),
            "with the same ID": evil.replace("_evil", name) + good,
            "in another answer": f'<r:Response xmlns:r="{samlp.NAMESPACE}">{good}</r:Response>'
            + evil,
            "in no namespace": good + "<Assertion/>",
        }  # fmt: skip
        return text.replace(good, forms[form])

    @pytest.mark.parametrize(
        "form",
        ["before", "behind", "within", "around", "with the signature", "in an object",
         "in an extension", "in advice", "with the same ID", "in another answer",
         "in no namespace"],
    )  # fmt: skip
    def test_a_signature_of_something_else_is_worth_nothing(self, case: Case, form: str) -> None:
        text = case.answer()
        wrapped = self.wrapped(form, text)
        assert wrapped != text
        case.refused(wrapped)
        # what it was made of is good
        case.checked(text)

    def test_the_shape_alone_refuses_them(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the library makes of them."""
        monkeypatch.setattr(Answers, "_refuse_bad_signatures", lambda *_: None)
        for form in ("before", "within", "in an object", "in an extension", "with the same ID"):
            case.refused(self.wrapped(form, case.answer()))


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("rewrite", "words"),
    [
        (lambda text: BOMB + text, "document type"),
        (lambda text: '<!DOCTYPE a SYSTEM "file:///etc/passwd">' + text, "document type"),
        (lambda text: text.replace(">ada<", "><!-- -->ada<"), "comment"),
        (lambda text: text.replace(">ada<", "><?x y?>ada<"), "comment"),
        (lambda text: text[:-20], "no XML"),
        (lambda text: "<a>" * 500 + "</a>" * 500, "no request"),
        (
            lambda text: re.sub("(<ns[^>]*Response )", r"\1Id='_x' id='_x' ", text, count=1),
            "ID twice",
        ),
        (
            lambda text: text.replace("</ns0:Response>", "<x/>" * 21000 + "</ns0:Response>"),
            "too many",
        ),
        (
            lambda text: text.replace(
                "</ns0:Response>", "<x>" * 30000 + "</x>" * 30000 + "</ns0:Response>"
            ),
            "too many",
        ),
        (lambda text: text + " " * MOST, "longer than"),
    ],
)
def test_documents_that_are_no_answers_are_refused(
    case: Case, rewrite: Callable[[str], str], words: str
) -> None:
    text = case.answer()
    bad = rewrite(text)
    assert bad != text
    assert words in case.refused(bad)


@pytest.mark.parametrize(
    "sent", [b"", b"%%%", base64.b64encode(b"\xff\xfe"), base64.b64encode("<a/>".encode("utf-16"))]
)
def test_other_forms_fields_are_refused(case: Case, sent: bytes) -> None:
    with pytest.raises(RefusedError):
        case.answers.checked(sent, {"_mine"})


@pytest.mark.parametrize("encoding", ["UTF-7", "ISO-8859-1", "UTF-16"])
def test_a_declaration_changes_nothing(case: Case, encoding: str) -> None:
    """It is not signed: by it xmlsec1 would read other characters."""
    text = case.answer("ada", {UID: ["zoë"]})
    declared = re.sub(r"^<\?xml[^>]*\?>", "", text)
    login = case.checked(f"<?xml version='1.0' encoding='{encoding}'?>{declared}")
    assert login.attributes["uid"] == ("zoë",)


def test_a_comment_in_a_name_is_refused_though_it_is_signed(case: Case) -> None:
    """Who reads to the comment alone has an admin (CERT VU#475445)."""
    text = case.answer(
        "admin.evil", rewrite=lambda text: text.replace("admin.evil", "admin<!-- -->.evil")
    )
    assert "admin<!-- -->.evil" in text
    assert "comment" in case.refused(text)
    # signatures leave comments out: one may be added
    later = case.answer("admin.evil").replace("admin.evil", "admin<!-- -->.evil")
    assert "comment" in case.refused(later)


def test_an_answer_without_anybody_says_why(case: Case) -> None:
    text = (
        f'<p:Response xmlns:p="{samlp.NAMESPACE}" ID="_r" Version="2.0" InResponseTo="_mine"'
        ' IssueInstant="2026-01-01T00:00:00Z"><p:Status><p:StatusCode'
        ' Value="urn:oasis:names:tc:SAML:2.0:status:Responder"><p:StatusCode'
        ' Value="urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"/></p:StatusCode></p:Status>'
        "</p:Response>"
    )
    with pytest.raises(NotLoggedInError, match="Responder AuthnFailed"):
        case.checked(text)


def test_encrypted_answers_are_refused_in_words(case: Case) -> None:
    text = case.answer().replace(
        "</ns0:Response>",
        '<a:EncryptedAssertion xmlns:a="urn:oasis:names:tc:SAML:2.0:assertion"/></ns0:Response>',
    )
    assert "have the provider sign, and not encrypt" in case.refused(text)


def test_requests_are_new_ones_and_signed_where_that_is_wanted(case: Case) -> None:
    (one, url), (two, _) = case.answers.request(), case.answers.request()
    assert one != two and url.startswith(f"{IDP}/login?SAMLRequest=")
    assert "Signature" not in dict(parse_qsl(urlsplit(url).query))
    asked = case.idp.server.parse_authn_request(
        dict(parse_qsl(urlsplit(url).query))["SAMLRequest"],
        "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect",
    ).message
    assert (asked.id, asked.assertion_consumer_service_url) == (one, ACS)
    _, signed = case.new(signed_requests=True).request()
    query = dict(parse_qsl(urlsplit(signed).query))
    assert query["SigAlg"] == SIG_RSA_SHA256 and query["Signature"]


def test_the_metadata_has_a_key_for_signatures_alone(case: Case) -> None:
    text = case.answers.metadata.decode()
    assert ACS in text and 'use="signing"' in text and "encryption" not in text
    assert 'WantAssertionsSigned="true"' in text


class TestLogouts:
    REDIRECT: ClassVar[str] = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"

    def asked(
        self, case: Case, idp: SamlIdp, *, sign: bool = True, url: str = ""
    ) -> dict[str, str]:
        url = url or case.service.logout_url
        _, request = idp.server.create_logout_request(
            url, idp.entity_id, name_id=saml.NameID(text="ada"), sign=False
        )
        made = idp.server.apply_binding(
            self.REDIRECT, str(request), url, "state", sign=sign, sigalg=SIG_RSA_SHA256
        )
        return dict(parse_qsl(urlsplit(dict(made["headers"])["Location"]).query))

    def test_ours_is_one_of_the_providers(self, case: Case) -> None:
        login = case.checked(case.answer())
        url = case.answers.logout(login.name_id, login.session)
        query = dict(parse_qsl(urlsplit(url).query))
        assert url.startswith(f"{IDP}/logout?") and query["Signature"]
        asked = case.idp.server.parse_logout_request(query["SAMLRequest"], self.REDIRECT).message
        assert asked.name_id.text == "ada" and asked.session_index[0].text == login.session
        assert case.new(logout_url="").logout(login.name_id, "") == ""

    def test_the_providers_names_somebody(self, case: Case) -> None:
        name, url = case.answers.asked_to_log_out(self.asked(case, case.idp))
        assert name == "ada" and url.startswith(f"{IDP}/logout?SAMLResponse=")
        assert "RelayState=state" in url and "Signature=" in url

    def test_others_are_refused(self, case: Case) -> None:
        good = self.asked(case, case.idp)
        for bad in (
            self.asked(case, case.thief),
            self.asked(case, case.other),
            self.asked(case, case.idp, sign=False),
            self.asked(case, case.idp, url="https://evil.example.org"),
            good | {"RelayState": "another"},
            good | {"SAMLRequest": self.asked(case, case.thief)["SAMLRequest"]},
            good | {"SigAlg": SIG_RSA_SHA1},
            {key: value for key, value in good.items() if key != "SAMLRequest"},
        ):
            with pytest.raises(RefusedError):
                case.answers.asked_to_log_out(bad)


def test_the_library_writes_nothing(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """Its errors have whole answers in them."""
    with caplog.at_level(logging.DEBUG):
        case.refused(case.answer(idp=case.thief))
    assert not caplog.records


def test_only_what_can_still_come_again_is_kept(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.checked(case.answer())
    assert case.answers._taken
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + PATIENCE + 61)
    case.answers._take_once("another")
    assert list(case.answers._taken) == ["another"]
