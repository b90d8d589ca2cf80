"""Where secrets come from, and that they are made once and stay private."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyrage
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from hubstead import database, secrets
from hubstead.roles.lab import jupyterlab
from hubstead.secrets import Secrets
from hubstead.settings.secrets import SecretsSettings
from tests.kit.sites import HUB, sites

NAME = "hub_cookie_secret"
PLAIN = Path(".secrets/hub.example.org.json")


def of(hub: str = HUB, **settings: Any) -> Secrets:
    """The secrets of an inventory, by the name of its hub host."""
    return Secrets(hub, SecretsSettings(**settings))


@pytest.fixture(autouse=True)
def control_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HUBSTEAD_AGE_IDENTITY", raising=False)


Person = Callable[[str], str]


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    """Act as someone with an age identity; returns the public key."""

    def become(name: str) -> str:
        file = Path(f"{name}.txt")
        if not file.exists():
            identity = pyrage.x25519.Identity.generate()
            file.write_text(f"# public key: {identity.to_public()}\n{identity}\n")
        monkeypatch.setenv("HUBSTEAD_AGE_IDENTITY", str(file))
        return file.read_text().split()[3]

    return become


def test_a_secret_is_made_once() -> None:
    kept = of()
    first = kept.generated(NAME)
    assert len(bytes.fromhex(first)) == 32
    assert kept.generated(NAME) == first
    assert kept.generated("another") != first
    assert json.loads(PLAIN.read_text())[NAME] == first


def test_only_the_owner_reads_the_file() -> None:
    kept = of()
    kept.generated(NAME)
    assert stat.S_IMODE(PLAIN.stat().st_mode) == 0o600
    assert stat.S_IMODE(PLAIN.parent.stat().st_mode) == 0o700
    names = sorted(path.name for path in PLAIN.parent.iterdir())
    assert names == [".gitignore", ".lock", PLAIN.name]


def test_hosts_of_different_inventories_have_different_secrets() -> None:
    kept = of()
    first = kept.generated(NAME)
    assert of("other.example.org").generated(NAME) != first


def test_the_environment_beats_age_beats_the_plain_file(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = of()
    plain = kept.generated(NAME)
    person("ada")
    kept = of(secrets_age_file="team.age")
    encrypted = kept.generated(NAME)
    assert encrypted != plain
    assert kept.generated(NAME) == encrypted
    monkeypatch.setenv("HUBSTEAD_HUB_COOKIE_SECRET", "from the environment")
    assert kept.generated(NAME) == "from the environment"


def test_the_age_file_tells_nothing_without_the_identity(person: Person) -> None:
    person("ada")
    kept = of(secrets_age_file="team.age")
    secret = kept.generated(NAME)
    data = Path("team.age").read_bytes()
    assert data.startswith(b"age-encryption.org/v1")
    assert secret.encode() not in data
    assert not PLAIN.exists()


def test_without_an_identity_the_error_says_how_to_set_one() -> None:
    kept = of(secrets_age_file="team.age")
    with pytest.raises(secrets.SecretsError, match=r"set HUBSTEAD_AGE_IDENTITY to .*age-keygen"):
        kept.generated(NAME)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("not a key\n", "no age X25519 key"),
        ("AGE-SECRET-KEY-1HUNTER2\n", "no age X25519 key"),
        (b"\xff\xfe", "no age X25519 key"),
    ],
)
def test_a_broken_identity_is_named_and_not_quoted(
    content: str | bytes | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        Path("key.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    monkeypatch.setenv("HUBSTEAD_AGE_IDENTITY", "key.txt")
    kept = of(secrets_age_file="team.age")
    with pytest.raises(secrets.SecretsError, match=rf"'key.txt': .*{reason}") as caught:
        kept.generated(NAME)
    assert "HUNTER2" not in str(caught.value)


def test_a_stranger_is_told_whom_to_ask_for_what(person: Person) -> None:
    person("ada")
    kept = of(secrets_age_file="team.age")
    kept.generated(NAME)
    key = person("eve")
    with pytest.raises(secrets.SecretsError, match=f"add {key} to `secrets_age_recipients`"):
        kept.generated(NAME)


def test_who_is_added_to_the_recipients_can_read_after_one_run(person: Person) -> None:
    """A run that needed no new secret once left the file as it was."""
    eve, ada = person("eve"), person("ada")
    kept = of(secrets_age_file="team.age")
    secret = kept.generated(NAME)
    kept = of(secrets_age_file="team.age", secrets_age_recipients=[ada, eve])
    assert kept.generated(NAME) == secret
    person("eve")
    assert kept.generated(NAME) == secret
    kept.generated("another")
    person("ada")
    assert kept.generated(NAME) == secret


def test_who_leaves_the_recipients_cannot_read_what_is_new(person: Person) -> None:
    eve, ada = person("eve"), person("ada")
    kept = of(secrets_age_file="team.age", secrets_age_recipients=[ada, eve])
    kept.generated(NAME)
    kept = of(secrets_age_file="team.age", secrets_age_recipients=[ada])
    kept.generated(NAME)
    person("eve")
    kept = of(secrets_age_file="team.age")
    with pytest.raises(secrets.SecretsError, match="cannot be opened"):
        kept.generated(NAME)


def test_without_a_list_nobody_is_locked_out(person: Person) -> None:
    eve, ada = person("eve"), person("ada")
    kept = of(secrets_age_file="team.age", secrets_age_recipients=[ada, eve])
    secret = kept.generated(NAME)
    person("eve")
    kept = of(secrets_age_file="team.age")
    kept.generated("another")
    person("ada")
    assert kept.generated(NAME) == secret


def test_recipients_without_oneself_are_refused(person: Person) -> None:
    eve, ada = person("eve"), person("ada")
    kept = of(secrets_age_file="team.age", secrets_age_recipients=[eve])
    with pytest.raises(secrets.SecretsError, match=f"leaves out your own key, {ada}"):
        kept.generated(NAME)
    assert not Path("team.age").exists()


@pytest.mark.parametrize("text", ['{"half": ', "[]", '{"number": 1}', ""])
def test_a_corrupt_file_is_named_and_left_alone(text: str) -> None:
    kept = of()
    PLAIN.parent.mkdir()
    PLAIN.write_text(text)
    with pytest.raises(secrets.SecretsError, match=PLAIN.name):
        kept.generated(NAME)
    assert PLAIN.read_text() == text


def test_a_corrupt_age_file_is_named_and_left_alone(person: Person) -> None:
    person("ada")
    kept = of(secrets_age_file="team.age")
    Path("team.age").write_bytes(b"garbage")
    with pytest.raises(secrets.SecretsError, match=r"team\.age cannot be opened"):
        kept.generated(NAME)
    assert Path("team.age").read_bytes() == b"garbage"


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (secrets.PRINTABLE, "pässword", "printable ASCII"),
        (secrets.PRINTABLE, "two\nlines", "printable ASCII"),
        (secrets.PRINTABLE, "password\n", "printable ASCII"),
        (secrets.PRINTABLE, "tab\there", "printable ASCII"),
        (secrets.TOKEN, "p@ss/w ord'", "without spaces"),
        (secrets.TOKEN, "short77", "8 to 72 characters"),
        (secrets.TOKEN, "x" * 73, "8 to 72 characters"),
        (secrets.HEX, "correct horse battery staple", "64 hexadecimal digits"),
        (secrets.HEX, "0123456789abcdef" * 2, "64 hexadecimal digits"),
        (secrets.HEX, "0" * 64 + "\n", "64 hexadecimal digits"),
    ],
)
@pytest.mark.parametrize("source", ["environment", "plain", "age"])
def test_a_secret_that_would_do_harm_is_refused_and_not_shown(
    kind: secrets.Kind, value: str, words: str, source: str, person: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    kept = of()
    if source == "environment":
        monkeypatch.setenv("HUBSTEAD_HUB_COOKIE_SECRET", value)
        where = "HUBSTEAD_HUB_COOKIE_SECRET"
    elif source == "plain":
        secrets.PlainStore(PLAIN).write({NAME: value})
        where = str(PLAIN)
    else:
        person("ada")
        kept = of(secrets_age_file="team.age")
        secrets.AgeStore(Path("team.age"), []).write({NAME: value})
        where = "team.age"
    with pytest.raises(secrets.SecretsError) as caught:
        kept.generated(NAME, kind)
    message = str(caught.value)
    assert f"`{NAME}` ({where}" in message and words in message
    assert value.strip() not in message
    assert "\n" not in message


def test_what_is_made_here_is_of_every_kind() -> None:
    kept = of()
    for kind in (secrets.PRINTABLE, secrets.TOKEN, secrets.HEX, jupyterlab.SECRET_KEY):
        assert kept.generated(NAME, kind) == kept.generated(NAME)


@pytest.mark.parametrize("apart", [False, True], ids=["one-host", "two-hosts"])
@pytest.mark.parametrize(
    "password", ["p@ss/w ord'", "'", " ", "\\", "a\\' b%20+?#[&]=:;$\"{}", "0" * 64]
)
def test_a_password_means_itself_where_it_is_read(
    apart: bool, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a URL of SQLAlchemy and in a connection string of libpq."""
    site = sites({}, db="db.example.org" if apart else None)[HUB]
    for role in ("JUPYTERHUB", "USERDB_READER"):
        monkeypatch.setenv(f"HUBSTEAD_POSTGRES_{role}_PASSWORD", password)
    url = make_url(database.url(site, "jupyterhub"))
    assert (url.username, url.password, url.database) == ("jupyterhub", password, "jupyterhub")
    assert url.host == ("db.example.org" if apart else None)
    words = conninfo_to_dict(database.conninfo(site, "userdb_reader"))
    assert (words["user"], words["password"]) == ("userdb_reader", password)
    assert words["host"] == ("db.example.org" if apart else database.SOCKETS)


def _generate(directory: Path) -> list[str]:
    os.chdir(directory)
    kept = of()
    return [kept.generated(f"secret_{number}") for number in range(20)]


def test_runs_at_the_same_time_share_their_secrets(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, get_context("fork")) as pool:
        results = list(pool.map(_generate, [tmp_path] * 3))
    assert results[0] == results[1] == results[2]
    assert len(set(results[0])) == 20


def test_a_secret_that_others_give_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(secrets.SecretsError, match=r"Put it into .*HUBSTEAD_DNS_LINODE_KEY") as no:
        of().brought("dns_linode_key")
    assert str(PLAIN) in str(no.value)
    PLAIN.write_text('{"dns_linode_key": "from the file"}')
    assert of().brought("dns_linode_key") == "from the file"
    monkeypatch.setenv("HUBSTEAD_DNS_LINODE_KEY", "dG9rZW4=")
    assert of().brought("dns_linode_key", secrets.WORD) == "dG9rZW4="
    monkeypatch.setenv("HUBSTEAD_DNS_LINODE_KEY", "two\nlines = 1")
    with pytest.raises(secrets.SecretsError, match="one word") as bad:
        of().brought("dns_linode_key", secrets.WORD)
    assert "two" not in str(bad.value) and "one is made" not in str(bad.value)
