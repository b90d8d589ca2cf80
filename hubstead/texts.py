"""What texts of the settings may be, so that they are texts wherever a role writes them.

They reach configuration files, units, Dockerfiles, shells and connection lines, each with rules of
its own for quotes, `$`, `%`, `#` and the end of a line. A name, an address or a URL needs none of
these.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
#: Of RFC 3986, without what is more than text to a shell, to Docker or to apt
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?&=+,@%\[\]-]+")
URL_CHARACTERS = "of letters, digits and - . _ ~ : / ? & = + , @ % [ ]"
_PATH = re.compile(r"/([A-Za-z0-9._~-]+/)*")
_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"([A-Za-z0-9.-]+(:\d{{1,5}})?/)?{_COMPONENT}(/{_COMPONENT})*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
#: (cn=Labor*), (memberOf:1.2.840.113556.1.4.1941:=cn=lab,dc=example,dc=org) ... (RFC 4515, 3)
_LDAP_ITEM = re.compile(
    r"\([A-Za-z0-9][A-Za-z0-9.;-]*(:dn)?(:[A-Za-z0-9.-]+)?[:~<>]?="
    r"([^()\\]|\\[0-9A-Fa-f]{2})*\)"
)
_LDAP_FILTER = re.compile(r"\((![(][)]|[&|]([(][)])+)\)")
_HBA_TYPES = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, without the zone of RFC 4007."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_host_name(text: str) -> bool:
    """Whether it is a host name in lower case (RFC 1123, 2.1).

    The last label is not a number: that would be an address, and is none.
    """
    return bool(_HOST_NAME.fullmatch(text)) and not text.rpartition(".")[2].isdigit()


def is_url(text: str, *schemes: str) -> bool:
    """Whether it is a URL of one of the schemes, http and https among them."""
    try:
        url = urlsplit(text)
        return bool(_URL.fullmatch(text) and url.hostname and url.port != 0) and (
            url.scheme in schemes
        )
    except ValueError:  # a port that is none, an address that is none
        return False


def is_email(text: str) -> bool:
    """Whether it is an address of mail that needs no quotes (RFC 5322, 3.4.1: dot-atom)."""
    local, _, domain = text.rpartition("@")
    return bool(_DOT_ATOM.fullmatch(local)) and is_host_name(domain.lower())


def is_path(text: str) -> bool:
    """Whether it is a path with a slash at both ends, of unreserved characters (RFC 3986, 2.3).

    No part is empty, `.` or `..`, which browsers take away (RFC 3986, 5.2.4).
    """
    return bool(_PATH.fullmatch(text)) and not {".", ".."} & set(text.split("/"))


def is_image(text: str) -> bool:
    """Whether it names an image: [HOST[:PORT]/]NAME[:TAG][@DIGEST] (distribution/reference)."""
    return bool(_IMAGE.fullmatch(text))


def is_pinned(text: str) -> bool:
    """Whether it is a requirement of one version (PEP 508), such as numpy==2.4.1."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return False
    return any(part.operator in ("==", "===") for part in requirement.specifier)


def is_access_rule(text: str) -> bool:
    """Whether it is of the form of a line of pg_hba.conf: "The pg_hba.conf File", PostgreSQL.

    A backslash at its end would take the next line along, which is ours.
    """
    words = text.split()
    one_line = text.replace("\t", " ").isprintable() and not text.endswith("\\")
    if not one_line or not words or text.count('"') % 2:
        return False
    fields = 4 if words[0] == "local" else 5
    return words[0].startswith("#") or (words[0] in _HBA_TYPES and len(words) >= fields)


def is_ldap_filter(text: str) -> bool:
    """Whether it is a filter of LDAP (RFC 4515, 3), with its brackets."""
    rest = _LDAP_ITEM.sub("()", text)
    while (shorter := _LDAP_FILTER.sub("()", rest)) != rest:
        rest = shorter
    return rest == "()" and "()" not in text and text.isprintable()


def in_bytes(size: str) -> int:
    """A size such as 2G, as JupyterHub and systemd read it (systemd.resource-control(5))."""
    return int(size[:-1]) << {"M": 20, "G": 30, "T": 40}[size[-1]]


def is_inventory_name(text: str) -> bool:
    """Whether it names a host of an inventory: a host name, an address, an alias, @CONNECTOR/NAME.

    It stands where that host is meant to be reached, and in names of files.
    """
    return bool(re.fullmatch(r"[A-Za-z0-9@][A-Za-z0-9@._:/+-]*", text))
