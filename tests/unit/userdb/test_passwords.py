"""What is a password, and what bcrypt makes of it."""

import math
import unicodedata

import bcrypt
import pytest

from hubstead_userdb import passwords
from hubstead_userdb.names import username_problem
from hubstead_userdb.passwords import Passwords


@pytest.fixture
def rules() -> Passwords:
    return Passwords(cost=4)


def test_a_hash_matches_its_password_only(rules: Passwords) -> None:
    made = rules.hash("correct horse")
    assert made.startswith("$2b$04$")
    assert passwords.is_hash(made)
    assert rules.matches("correct horse", made)
    assert not rules.matches("correct horsf", made)
    assert not rules.matches("", made)


def test_72_bytes_are_hashed_whole_and_73_refused(rules: Passwords) -> None:
    longest = "x" * 72
    made = rules.hash(longest)
    assert rules.problem(longest, "ada") is None
    assert not rules.matches("x" * 71 + "y", made)
    for too_long in (longest + "x", "ä" * 37, "x" * 10_000_000):
        assert rules.problem(too_long, "ada") == (
            "The password is too long: at most 72 bytes (UTF-8)."
        )
        assert not rules.usable(too_long)
        assert not rules.matches(too_long, made)
        with pytest.raises(ValueError):
            rules.hash(too_long)


def test_the_same_text_typed_on_another_keyboard_matches(rules: Passwords) -> None:
    composed = unicodedata.normalize("NFC", "Zoë's pässwörd")
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    assert rules.matches(decomposed, rules.hash(composed))
    assert rules.matches(composed, rules.hash(decomposed))


def test_no_unicode_text_gets_shorter_than_a_quarter_by_nfc() -> None:
    """Which is why longer texts can be refused without normalising them."""
    worst = max(len(unicodedata.normalize("NFD", chr(point))) for point in range(0x110000))
    assert worst <= 4


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("secret7", "The password is too short: at least 8 characters."),
        ("", "The password is too short: at least 8 characters."),
        ("secret\0word", "The password contains a control character."),
        ("secret\tword", "The password contains a control character."),
        ("Ada.Lovelace", "The password must differ from the username."),
        ("half \udc80 surrogate", "The password is too long: at most 72 bytes (UTF-8)."),
    ],
)
def test_refused_passwords(rules: Passwords, password: str, problem: str) -> None:
    assert rules.problem(password, "ada.lovelace") == problem


def test_a_check_takes_as_long_whoever_is_asked_for(
    rules: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rounds, which double with each step of the cost: a time would not be a test."""
    rounds: list[int] = []
    real = bcrypt.checkpw

    def counting(password: bytes, hashed: bytes) -> bool:
        rounds.append(2 ** int(hashed[4:6]))
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    imported = {cost: Passwords(cost).hash("correct horse") for cost in (4, 5, 7)}
    for highest, wanted in ((0, 2**4), (4, 2**4), (7, 2**7)):
        for password_hash in (None, *imported.values()):
            if password_hash and passwords.cost_of(password_hash) > max(highest, 4):
                continue
            for password in ("correct horse", "wrong horse"):
                rounds.clear()
                fits = rules.matches(password, password_hash, highest)
                assert fits == (password_hash is not None and password == "correct horse")
                assert sum(rounds) == wanted


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_other_programs_match(rules: Passwords, prefix: str) -> None:
    made = prefix + rules.hash("correct horse")[4:]
    assert passwords.is_hash(made)
    assert rules.matches("correct horse", made)


def test_generated_passwords_are_readable_and_strong(rules: Passwords) -> None:
    made = {passwords.generate() for _ in range(200)}
    assert len(made) == 200
    letters = {letter for password in made for letter in password} - {"-"}
    assert letters.isdisjoint("ilo01")
    assert 18 * math.log2(len(letters)) > 80
    assert all(rules.problem(password, "ada") is None for password in made)


@pytest.mark.parametrize("name", ["ada", "0", "a.b-c_d@example.org", "a" * 64])
def test_usernames(name: str) -> None:
    assert username_problem(name) is None


@pytest.mark.parametrize("name", ["", "Ada", ".a", "-a", "a b", "a/b", "a\n", "a\0", "ä", "a" * 65])
def test_not_usernames(name: str) -> None:
    assert "cannot be a username" in (username_problem(name) or "")
