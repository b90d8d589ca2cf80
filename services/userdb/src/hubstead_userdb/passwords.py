"""Passwords: what is accepted, how they are hashed, checked and generated."""

import re
import secrets
import unicodedata

import bcrypt

DEFAULT_COST = 12
DEFAULT_MIN_LENGTH = 8

#: bcrypt reads 72 bytes and ignores the rest (older versions silently), so longer ones are refused.
MAX_BYTES = 72

#: The same text is a constraint of the table. Costs over 15 are left out: one such row would keep a
#: processor busy for many seconds at every attempt to log in.
HASH_PATTERN = r"^[$]2[aby][$](0[4-9]|1[0-5])[$][./A-Za-z0-9]{53}$"

_hash = re.compile(HASH_PATTERN.removesuffix("$") + r"\Z")

# Without i, l and o, which are mistaken for 1 and 0 and each other. 18 of 23 letters: 81 bits.
_LETTERS = "abcdefghjkmnpqrstuvwxyz"
_GROUPS = 3
_GROUP_LENGTH = 6


def is_hash(text: str) -> bool:
    """Whether the text is a bcrypt hash that the table would take."""
    return _hash.match(text) is not None


def cost_of(password_hash: str) -> int:
    """A bcrypt hash's cost: each step doubles the time of a check."""
    return int(password_hash[4:6])


def generate() -> str:
    """A readable password of more than 80 random bits, such as ``kqvbzr-mweatp-ychdgs``."""
    return "-".join(
        "".join(secrets.choice(_LETTERS) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS)
    )


def _encode(password: str) -> bytes | None:
    # NFC makes one character of at most four, so a longer text is hopeless; normalising
    # megabytes would only cost time.
    if len(password) > 4 * MAX_BYTES or "\0" in password:
        return None
    try:
        encoded = unicodedata.normalize("NFC", password).encode()
    except UnicodeEncodeError:
        return None
    return encoded if len(encoded) <= MAX_BYTES else None


class Passwords:
    """Hashes and checks passwords with one bcrypt cost, under one rule for new ones.

    Thread-safe. ``hash`` and ``matches`` take a good part of a second at the default cost, and do
    not hold Python's global lock meanwhile: call them from a thread where a loop must not wait.

    :param cost: bcrypt's, 4 to 15; every step doubles the time.
    :param min_length: characters that a new password needs at least.
    """

    def __init__(self, cost: int = DEFAULT_COST, min_length: int = DEFAULT_MIN_LENGTH) -> None:
        if not 4 <= cost <= 15:
            raise ValueError(f"bcrypt cost must be 4 to 15, not {cost}")
        self.cost = cost
        self.min_length = min_length

    def problem(self, password: str, username: str) -> str | None:
        """Why ``password`` cannot be the new password of ``username``; None when it can."""
        if any(unicodedata.category(character) == "Cc" for character in password[: 4 * MAX_BYTES]):
            # NUL ends the password for some; web forms turn the others into spaces.
            return "The password contains a control character."
        if _encode(password) is None:
            return f"The password is too long: at most {MAX_BYTES} bytes (UTF-8)."
        normalised = unicodedata.normalize("NFC", password)
        if len(normalised) < self.min_length:
            return f"The password is too short: at least {self.min_length} characters."
        if normalised.casefold() == username.casefold():
            return "The password must differ from the username."
        return None

    def usable(self, password: str) -> bool:
        """Whether any hash could match: False for NUL and for more than 72 bytes."""
        return _encode(password) is not None

    def hash(self, password: str) -> str:
        """The bcrypt hash. Raises ValueError for what ``usable`` says no to."""
        encoded = _encode(password)
        if encoded is None:
            raise ValueError("not a password that bcrypt can hash whole")
        return bcrypt.hashpw(encoded, bcrypt.gensalt(self.cost)).decode()

    def matches(self, password: str, password_hash: str | None, cost: int = 0) -> bool:
        """Whether the password fits the hash; with None, False after the time of a real check.

        So the time does not tell whether the user exists, nor whose hash was imported.

        :param cost: the highest of all users' hashes. Whatever this hash is, a check takes the time
            of one of that cost, or of that of new ones where it is higher.
        """
        encoded = _encode(password)
        if encoded is None:
            return False
        highest = max(cost, self.cost)
        checked = password_hash or self._decoy(highest)
        fits = bcrypt.checkpw(encoded, checked.encode())
        # 2**cost rounds are done; with these, 2**highest: 2**c + 2**c + 2**(c + 1) + ... + 2**(h-1)
        for missing in range(cost_of(checked), highest):
            bcrypt.checkpw(encoded, self._decoy(missing).encode())
        return fits and password_hash is not None

    def _decoy(self, cost: int) -> str:
        """A hash of that cost that no password is known for."""
        # its time is spent at the check; bcrypt's salt has 22 characters, what it makes 31
        return f"$2b${cost:02}${'.' * 22}{secrets.token_hex(16)[:31]}"
