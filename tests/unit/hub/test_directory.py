"""People of a directory: a real slapd, asked without a Hub."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hubstead_hub import directory as tested
from hubstead_hub.directory import Directory, UnusableError
from tests.kit.authority import Authority
from tests.kit.slapd import (
    BASE,
    GROUPS,
    PASSWORD,
    PEOPLE,
    READER,
    READER_PASSWORD,
    Slapd,
    group,
    person,
)
from tests.unit.hub.conftest import two_ports

FILTER = "(|(member={dn})(uniqueMember={dn})(memberUid={name}))"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.issue(["localhost"])
    return authority


@pytest.fixture(scope="module")
def slapd(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    slapd = Slapd(tmp_path_factory.mktemp("slapd"), two_ports(), authority.pair())
    slapd.add(person("ada"), person("bob"), person("open", f"ou=open,{BASE}"))
    yield slapd
    slapd.stop()


@pytest.fixture(autouse=True)
def store() -> None:
    """What another test read of the system's is not this one's."""
    tested._system_store.cache_clear()


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's store has the authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))


@pytest.fixture
def directory(slapd: Slapd, trusted: None) -> Directory:
    return directory_of(slapd)


def directory_of(slapd: Slapd, **changes: Any) -> Directory:
    settled: dict[str, Any] = {
        "urls": [slapd.url],
        "base": PEOPLE,
        "bind_dn": READER,
        "bind_password": READER_PASSWORD,
        "group_filter": FILTER,
    }
    return Directory(**settled | changes)


@pytest.mark.parametrize("scheme", ["url", "ldaps"])
def test_a_person_is_told_by_the_password(slapd: Slapd, trusted: None, scheme: str) -> None:
    directory = directory_of(slapd, urls=[getattr(slapd, scheme)])
    found = directory.log_in("ada", PASSWORD)
    assert found and (found.dn, found.name) == (f"uid=ada,{PEOPLE}", "ada")
    assert found == directory.find("ADA ") and len(found.identity) == 72
    assert directory.log_in("ada", "wrong") is None
    assert directory.log_in("nobody", PASSWORD) is None and directory.find("nobody") is None


@pytest.mark.parametrize("password", ["", "\0", "\xad", "\u200b", " "])
def test_a_password_that_is_as_good_as_none_is_wrong(directory: Directory, password: str) -> None:
    """The server says yes to an empty one; what RFC 4013 maps to nothing must not become one."""
    assert directory.log_in("ada", password) is None


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "ad*",
        "*)(uid=*",
        "ada)(uid=ada",
        "ada)(|(uid=*",
        r"\61da",
        "ada\0",
        "(",
        "&",
        "ä" * 200,
    ],
)
def test_a_name_is_nothing_but_a_name(directory: Directory, name: str) -> None:
    assert directory.find(name) is None
    assert directory.log_in(name, PASSWORD) is None


def test_odd_names_are_found_as_they_are(slapd: Slapd, directory: Directory) -> None:
    for number, name in enumerate((r"a*b", r"(c)", r"d\e", "zoë", "f,g+h=i")):
        entry = person(f"odd{number}", f"ou=odd,{PEOPLE}").splitlines()
        if not number:
            slapd.add(f"dn: ou=odd,{PEOPLE}\nobjectClass: organizationalUnit")
        entry[0] = f"dn: cn=odd{number},ou=odd,{PEOPLE}"
        slapd.add("\n".join([*entry, f"uid: {name}"]))
        found = directory.log_in(name, PASSWORD)
        assert found and found.name == name


def test_somebody_has_one_name(slapd: Slapd, directory: Directory) -> None:
    """Whichever was typed, or a rule about one would not be about the other."""
    slapd.add(person("grace", PEOPLE, "uid: amazing", "uid: admiral"))
    names = {directory.log_in(name, PASSWORD).name for name in ("grace", "amazing", "Admiral")}  # type: ignore[union-attr]
    assert names == {"grace"}


def test_of_two_nobody_is_meant(slapd: Slapd, directory: Directory) -> None:
    slapd.add(f"dn: ou=more,{PEOPLE}\nobjectClass: organizationalUnit")
    slapd.add(person("twin"), person("twin", f"ou=more,{PEOPLE}"))
    assert directory.log_in("twin", PASSWORD) is None and directory.find("twin") is None


def test_who_is_not_within_the_filter_is_nobody(slapd: Slapd, directory: Directory) -> None:
    slapd.add(person("leaver"))
    directory.filter = "(!(employeeType=gone))"
    assert directory.log_in("leaver", PASSWORD)
    slapd.modify(f"uid=leaver,{PEOPLE}", "replace: employeeType", "employeeType: gone")
    assert directory.log_in("leaver", PASSWORD) is None and directory.find("leaver") is None


def test_the_next_one_of_a_name_is_another(slapd: Slapd, directory: Directory) -> None:
    slapd.add(person("same"))
    first = directory.find("same")
    slapd.delete(f"uid=same,{PEOPLE}")
    slapd.add(person("same"))
    second = directory.find("same")
    assert first and second and first.dn == second.dn and first.identity != second.identity


def test_groups_are_searched_for(slapd: Slapd, trusted: None) -> None:
    slapd.add(
        group("lab", "ada", "bob"),
        group("Staff", "ada"),
        group("other", "bob"),
        f"dn: cn=unix,{GROUPS}\nobjectClass: posixGroup\ngidNumber: 7\nmemberUid: ada",
        *(group(f"g{number}", "ada") for number in range(520)),
    )
    directory = directory_of(slapd, group_base=GROUPS)
    wanted = {"lab", "staff", "unix", "other", "none", f"CN=Lab, {GROUPS}", f"cn=other,{GROUPS}"}
    found = directory.find("ada", wanted)
    assert found and found.groups == {"lab", "staff", "unix", f"CN=Lab, {GROUPS}"}
    assert found == directory.log_in("ada", PASSWORD, wanted)
    for odd in ("*", "lab)(cn=*", "a=b"):
        found = directory.find("bob", {odd})
        assert found and not found.groups


def test_a_persons_whole_name_may_be_odd(slapd: Slapd, trusted: None) -> None:
    """As Active Directory makes them of surname and first name."""
    for uid, rdn, cn in (
        ("whole1", r"Doe\, Jane (Müller*)", "Doe, Jane (Müller*)"),
        ("whole2", r"a\+b\=c\\d", r"a+b=c\d"),
        ("whole3", r"\#x\22\2C y", '#x", y'),
    ):
        dn = f"cn={rdn},{PEOPLE}"
        _, _, rest = person(uid, PEOPLE, f"uid: {uid}").partition("\n")
        slapd.add(
            f"dn: {dn}\n{rest.replace(f'cn: {uid}', f'cn: {cn}')}",
            f"dn: cn=of-{uid},{GROUPS}\nobjectClass: groupOfNames\nmember: {dn}",
        )
        for base, own in ((GROUPS, f"of-{uid}"), ("", f"cn=of-{uid},{GROUPS}")):
            directory = directory_of(slapd, group_base=base)
            found = directory.log_in(uid, PASSWORD, {own, "lab"})
            assert found and found.groups == {own}


def test_member_of_is_told_by_whole_names_alone(slapd: Slapd, directory: Directory) -> None:
    """Elsewhere in the directory somebody may make a group that is called as they like."""
    slapd.add(person("eve"), group("kings", "eve"), group("queens", "ada"))
    wanted = {"kings", f"cn=KINGS,{GROUPS.replace(',', ', ')}", f"cn=queens,{GROUPS}"}
    found = directory.find("eve", wanted)
    assert found and found.groups == {f"cn=KINGS,{GROUPS.replace(',', ', ')}"}


def test_referrals_are_not_followed(slapd: Slapd, directory: Directory) -> None:
    """Neither one among what is found, nor one that the search answers."""
    ports = two_ports()
    slapd.add(
        f"dn: ou=elsewhere,{PEOPLE}\nobjectClass: referral\nobjectClass: extensibleObject\n"
        f"ou: elsewhere\nref: ldap://localhost:{ports[0]}/{PEOPLE}"
    )
    assert directory.log_in("ada", PASSWORD)
    assert directory.find("stranger") is None
    directory.base = f"ou=elsewhere,{PEOPLE}"
    with pytest.raises(UnusableError, match="referral"):
        directory.find("stranger")


def test_a_search_may_be_anonymous(slapd: Slapd, trusted: None) -> None:
    base = f"ou=open,{BASE}"
    directory = directory_of(slapd, base=base, bind_dn="", bind_password="")
    directory.check()
    assert directory.log_in("open", PASSWORD) and not directory.log_in("open", "wrong")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bind_password": "wrong"}, "invalidCredentials"),
        ({"bind_dn": f"cn=nobody,{BASE}"}, "invalidCredentials"),
        ({"base": f"ou=nowhere,{BASE}"}, "noSuchObject"),
        ({"attribute": "employeeNumber"}, "nobody"),
        ({"filter": "(uid=nobody)"}, "nobody"),
        ({"bind_dn": "", "bind_password": ""}, "insufficientAccessRights"),
        ({"filter": "(uid=*"}, "filter"),
        ({"group_base": f"ou=nowhere,{BASE}"}, "noSuchObject"),
        ({"group_base": GROUPS, "group_filter": "(member="}, "filter"),
    ],
)
def test_what_is_settled_wrongly_is_told(
    slapd: Slapd, trusted: None, changes: dict[str, str], words: str
) -> None:
    directory = directory_of(slapd, **changes)
    with pytest.raises(UnusableError, match=words) as raised:
        directory.check()
    assert READER_PASSWORD not in str(raised.value)
    if "group_base" not in changes:
        with pytest.raises(UnusableError):
            directory.find("gone")


def test_another_server_is_asked_where_one_is_away(slapd: Slapd, trusted: None) -> None:
    nothing = f"ldap://localhost:{two_ports()[0]}"
    directory = directory_of(slapd, urls=[nothing, slapd.url])
    assert directory.log_in("ada", PASSWORD)
    assert directory.urls == [slapd.url, nothing]
    directory.urls = [nothing]
    with pytest.raises(UnusableError, match="refused"):
        directory.find("ada")
    # at once, as it is back
    directory.urls = [slapd.url]
    assert directory.find("ada")


def test_nobody_waits_for_a_silent_server_again(
    trusted: None, slapd: Slapd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tested, "ANSWER", 1)
    monkeypatch.setattr(tested, "PAUSE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        directory = directory_of(slapd, urls=[f"ldap://localhost:{silent.getsockname()[1]}"])
        for least, most in ((0.9, 3), (0, 0.1)):
            begun = time.monotonic()
            with pytest.raises(UnusableError, match=r"timed out|temporarily"):
                directory.log_in("ada", PASSWORD)
            assert least <= time.monotonic() - begun < most
    directory.urls = [slapd.url]
    time.sleep(0.5)
    assert directory.log_in("ada", PASSWORD)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"0\x03\x02\x01\x01", b""])
def test_what_speaks_no_ldap_is_no_directory(
    trusted: None, slapd: Slapd, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(tested, "ANSWER", 1)
    with socket.create_server(("127.0.0.1", 0)) as other:

        def respond() -> None:
            with other.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)

        threading.Thread(target=respond, daemon=True).start()
        directory = directory_of(slapd, urls=[f"ldap://localhost:{other.getsockname()[1]}"])
        with pytest.raises(UnusableError):
            directory.log_in("ada", PASSWORD)


def test_a_server_that_cannot_be_verified_gets_nothing(
    slapd: Slapd, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (slapd.url, slapd.ldaps):
        with pytest.raises(UnusableError, match="CERTIFICATE_VERIFY_FAILED"):
            directory_of(slapd, urls=[url]).find("ada")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
        tested._system_store.cache_clear()
        with pytest.raises(UnusableError, match=r"127\.0\.0\.1"):
            directory_of(slapd, urls=[url.replace("localhost", "127.0.0.1")]).find("ada")
        monkeypatch.undo()
        tested._system_store.cache_clear()
