"""What acme-reason makes of the words of certbot and the ACME server."""

from __future__ import annotations

import re

import pytest

from programs import acme_reason

CERTBOT = """Requesting a certificate for a.example.org and b.example.org

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority \
reported these problems:
  Domain: a.example.org
  Type:   connection
  Detail: Get "http://a.example.org:80/.well-known/acme-challenge/DWMnY3pB-JRW3": lookup \
a.example.org: no such host

  Domain: b.example.org
  Type:   unauthorized
  Detail: The key authorization file from the server did not match this challenge.

Hint: The Certificate Authority failed to download the temporary challenge files.
"""
WANTED = {"directory": "https://acme.example.net/dir", "http_port": 80, "challenge_port": 8}
FOUND = {
    "b.example.org": ["192.0.2.1"],
    "c.example.org": ["192.0.2.9"],
    "d.example.org": ["127.0.1.1"],
}


def test_a_refused_name_is_explained() -> None:
    own = ["192.0.2.1", "2001:db8::1"]
    lines = acme_reason.explain(CERTBOT, WANTED, lambda name: FOUND.get(name, []), own).splitlines()
    assert lines[0] == (
        "a.example.org has no address. Add an A or AAAA record for it that leads to this host "
        "(192.0.2.1, 2001:db8::1), or remove it from `hub_names`."
    )
    assert lines[1].startswith("b.example.org: the ACME server could not fetch the answer")
    assert "did not match this challenge" in lines[1] and "Port 80 must be open" in lines[1]
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("said", "explained"),
    [
        ("ValueError: Requesting acme.example.net/dir: Connection refused", "cannot be reached"),
        (
            "urn:ietf:params:acme:error:rateLimited\ntoo many new orders, retry after 2038-01-19 "
            "03:14:07 UTC: see x",
            r"too many requests.*not before 2038-01-19 03:14:07 UTC. Wait",
        ),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
            "does not trust.*`base_ca_certificates`",
        ),
        ("urn:ietf:params:acme:error:malformed\nwhat\never", r"gave no certificate \(malformed\)"),
    ],
)
def test_a_server_that_refuses_is_explained(said: str, explained: str) -> None:
    text = acme_reason.explain(said, WANTED, lambda name: [], ["192.0.2.1"])
    assert text.startswith(WANTED["directory"])
    assert len(text) < 600
    assert re.search(explained, text)


def test_a_port_of_somebody_else_is_explained() -> None:
    said = "Could not bind TCP port 8 because it is already in use by another process"
    text = acme_reason.explain(said, WANTED, lambda name: [], [])
    assert text.startswith("Another program has port 8 of this host") and "sport = :8" in text


def test_a_name_that_leads_elsewhere_is_explained() -> None:
    told = acme_reason.of_name("c.example.org", "timeout", ["192.0.2.9"], ["192.0.2.1"], 80)
    assert "c.example.org leads to 192.0.2.9, and this host has 192.0.2.1." in told
    # a host may know itself as 127.0.1.1
    told = acme_reason.of_name("c.example.org", "timeout", ["127.0.1.1"], ["192.0.2.1"], 8080)
    assert "which has to lead to port 8080 of this host" in told


def test_an_answer_in_the_dns_is_explained_by_the_dns() -> None:
    want = WANTED | {"dns": {"plugin": "dns-rfc2136"}}

    def explain(text: str) -> str:
        return acme_reason.explain(text, want, lambda name: [], [])

    refused = explain(CERTBOT)
    assert "a.example.org: the ACME server did not find the answer" in refused
    assert "Port 80" not in refused and len(refused.splitlines()) == 2
    unwritten = explain("Encountered exception\nReceived response from server: NOTAUTH")
    assert "could not write the answer" in unwritten and "NOTAUTH" in unwritten
    limited = "urn:ietf:params:acme:error:rateLimited\ntoo many"
    assert "too many requests" in explain(limited)
