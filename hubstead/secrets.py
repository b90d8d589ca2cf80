"""Secrets: made once, kept on the control machine, never typed and never printed.

Where a secret comes from, in this order:

1. the environment: `HUBSTEAD_` and the name in capitals;
2. the age-encrypted file that `secrets_age_file` names, which may live in git (for teams); the
   identity that opens it is the file that HUBSTEAD_AGE_IDENTITY names (https://age-encryption.org);
3. `.secrets/HUB-HOST.json`, mode 0600, which git ignores.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
from pyinfra.api.exceptions import PyinfraError

from hubstead.settings.secrets import SecretsSettings

DIRECTORY = Path(".secrets")


class SecretsError(PyinfraError):
    """A secret that is missing or cannot be read; the message says how to supply it."""


class PlainStore:
    """A JSON file that only its owner reads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, str]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        return _parse(self.path, self.decode(data))

    def is_outdated(self, values: dict[str, str]) -> bool:
        """Whether the file must be written even if no secret is new."""
        return False

    def write(self, values: dict[str, str]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes the file 0600; the rename keeps a cut run from leaving half a file
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.encode(values))
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(self.path)

    def encode(self, values: dict[str, str]) -> bytes:
        return json.dumps(values, indent=2, sort_keys=True).encode() + b"\n"

    def decode(self, data: bytes) -> bytes:
        return data


class AgeStore(PlainStore):
    """The same, encrypted to everyone in `recipients`.

    An age file does not tell whom it is for (https://age-encryption.org/v1, "X25519"), so that is
    kept among the secrets: a file for other people than now is written anew.
    """

    RECIPIENTS = "age recipients"

    def __init__(self, path: Path, recipients: list[str]) -> None:
        super().__init__(path)
        self.identity = _identity(path)
        own = str(self.identity.to_public())
        if recipients and own not in recipients:
            raise SecretsError(
                f"`secrets_age_recipients` leaves out your own key, {own}: add it, or you could "
                f"not open {path} again."
            )
        self.recipients = " ".join(sorted(set(recipients)))

    def is_outdated(self, values: dict[str, str]) -> bool:
        return self.recipients not in ("", values.get(self.RECIPIENTS))

    def encode(self, values: dict[str, str]) -> bytes:
        own = str(self.identity.to_public())
        recipients = self.recipients or values.get(self.RECIPIENTS, own)
        keys = [pyrage.x25519.Recipient.from_str(key) for key in recipients.split()]
        return bytes(pyrage.encrypt(super().encode({**values, self.RECIPIENTS: recipients}), keys))

    def decode(self, data: bytes) -> bytes:
        try:
            return bytes(pyrage.decrypt(data, [self.identity]))
        except pyrage.DecryptError as error:
            raise SecretsError(
                f"{self.path} cannot be opened with your age identity ({error}): ask someone who "
                f"can open it to add {self.identity.to_public()} to `secrets_age_recipients` and "
                "to run once."
            ) from None


def _identity(path: Path) -> pyrage.x25519.Identity:
    identity_file = os.environ.get("HUBSTEAD_AGE_IDENTITY")
    if not identity_file:
        raise SecretsError(
            f"`secrets_age_file` = {str(path)!r} needs the identity that opens it: set "
            "HUBSTEAD_AGE_IDENTITY to the path of your age key file (age-keygen -o key.txt)."
        )
    try:
        lines = Path(identity_file).expanduser().read_text().splitlines()
        key = next((line for line in lines if line.startswith("AGE-SECRET-KEY-")), "")
        return pyrage.x25519.Identity.from_str(key)
    except (OSError, ValueError, pyrage.IdentityError) as error:
        # the reason alone: a message of the library could quote the key
        reason = error.strerror if isinstance(error, OSError) else "it holds no age X25519 key"
        raise SecretsError(f"HUBSTEAD_AGE_IDENTITY = {identity_file!r}: {reason}.") from None


def _parse(path: Path, data: bytes) -> dict[str, str]:
    try:
        values = json.loads(data)
    except ValueError as error:
        raise SecretsError(f"{path} is not the JSON that Hubstead wrote: {error}") from None
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise SecretsError(f"{path} must hold one JSON object of strings: names and secrets")
    return values


@contextmanager
def _locked() -> Generator[None]:
    """Two runs at once must not each make a secret of their own."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    # wherever pyinfra is run (gitignore(5))
    (DIRECTORY / ".gitignore").write_text("*\n")
    with (DIRECTORY / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _variable(name: str) -> str:
    return f"HUBSTEAD_{name.upper()}"


@dataclass(frozen=True)
class Kind:
    """What a secret may be, for one that was not made here. `pattern` is of the whole secret."""

    pattern: str
    words: str
    mend: str = "Remove it, and one is made."


#: Roles quote it where it needs that. Other characters would mean different things to different
#: programs: SASLprep (RFC 4013), the encoding of a header (RFC 9110, 5.5), an end of a line.
PRINTABLE = Kind(r"[ -~]+", "printable ASCII: letters, digits, punctuation and spaces")
#: 72 is what bcrypt reads, 8 the least that JupyterHub takes as a token
TOKEN = Kind(r"[!-~]{8,72}", "8 to 72 characters of printable ASCII without spaces")
#: What a file of name and value keeps as it is, and what providers make
WORD = Kind(r"[\w.:/+=-]+", "one word of letters, digits and . : / + = _ -", "Copy it once more.")
HEX = Kind(r"[0-9A-Fa-f]{64}", "64 hexadecimal digits, as `openssl rand -hex 32` prints them")
KEY = Kind(
    r"-----BEGIN (RSA )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+\n-----END (RSA )?PRIVATE KEY-----\n?",
    "an RSA key in PEM without a password, as `openssl genrsa 3072` prints it",
)


def _hex() -> str:
    return secrets.token_hex(32)


@dataclass(frozen=True)
class Secrets:
    """The secrets of an inventory, which is known by the name of its hub host."""

    hub: str
    settings: SecretsSettings = field(repr=False)

    def generated(self, name: str, kind: Kind = PRINTABLE, make: Callable[[], str] = _hex) -> str:
        """The secret `name`, made at first use and kept; 64 hexadecimal digits unless told.

        + kind: what it may be where the owner brings it. Raises SecretsError for another.
        """
        if value := os.environ.get(_variable(name)):
            return _checked(value, name, kind, f"{_variable(name)} in the environment")
        with _locked():
            store = self._store()
            values = store.read()
            if name not in values or store.is_outdated(values):
                if name not in values:
                    values[name] = make()
                store.write(values)
            return _checked(values[name], name, kind, str(store.path))

    def brought(self, name: str, kind: Kind = PRINTABLE) -> str:
        """The secret `name`, which somebody else made. Raises SecretsError where it is missing."""
        source = f"{_variable(name)} in the environment"
        value = os.environ.get(_variable(name))
        if not value:
            with _locked():
                store = self._store()
                value, source = store.read().get(name), str(store.path)
        if not value:
            raise SecretsError(
                f"The secret `{name}` is missing, which others give you. Put it into {source} by "
                f"that name, or into the environment of each run as {_variable(name)}."
            )
        return _checked(value, name, kind, source)

    def _store(self) -> PlainStore:
        if self.settings.secrets_age_file:
            return AgeStore(self.settings.secrets_age_file, self.settings.secrets_age_recipients)
        return PlainStore(DIRECTORY / f"{self.hub.strip('@')}.json")


def _checked(value: str, name: str, kind: Kind, source: str) -> str:
    if not re.fullmatch(kind.pattern, value):
        raise SecretsError(
            f"The secret `{name}` ({source}) is not what it must be: {kind.words}. It is not shown "
            f"here. {kind.mend}"
        )
    return value
