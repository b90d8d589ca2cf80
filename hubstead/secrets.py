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
import secrets
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pyrage
from pydantic import Field
from pyinfra.api.exceptions import PyinfraError

from hubstead.settings import Settings, load
from hubstead.topology import tier_host

DIRECTORY = Path(".secrets")


class SecretsError(PyinfraError):
    """A secret that is missing or cannot be read; the message says how to supply it."""


class SecretsSettings(Settings):
    """Where the secrets of an inventory are kept."""

    prefixes = ("secrets_",)

    secrets_age_file: Path | None = Field(
        None, description="An age-encrypted file that holds the secrets, for keeping them in git."
    )
    secrets_age_recipients: list[str] = Field(
        [], description="Public age keys of further people who can open `secrets_age_file`."
    )


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

    def write(self, values: dict[str, str]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes the file 0600; the rename keeps a cut run from leaving half a file
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.encode(json.dumps(values, indent=2, sort_keys=True).encode() + b"\n"))
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(self.path)

    def encode(self, data: bytes) -> bytes:
        return data

    def decode(self, data: bytes) -> bytes:
        return data


class AgeStore(PlainStore):
    """The same, encrypted to the holder of an age identity and to further recipients."""

    def __init__(self, path: Path, recipients: list[str]) -> None:
        super().__init__(path)
        identity_file = os.environ.get("HUBSTEAD_AGE_IDENTITY")
        if not identity_file:
            raise SecretsError(
                f"`secrets_age_file` = {str(path)!r} needs the identity that opens it: set "
                "HUBSTEAD_AGE_IDENTITY to the path of your age key file (age-keygen -o key.txt)."
            )
        try:
            lines = Path(identity_file).expanduser().read_text().splitlines()
            key = next(line for line in lines if line.startswith("AGE-SECRET-KEY-"))
            self.identity = pyrage.x25519.Identity.from_str(key)
            self.recipients = [pyrage.x25519.Recipient.from_str(r) for r in recipients]
        except (OSError, StopIteration, pyrage.IdentityError, pyrage.RecipientError) as error:
            raise SecretsError(
                f"HUBSTEAD_AGE_IDENTITY = {identity_file!r} and `secrets_age_recipients` must hold "
                f"age X25519 keys: {error or 'no AGE-SECRET-KEY- line'}"
            ) from None

    def encode(self, data: bytes) -> bytes:
        return bytes(pyrage.encrypt(data, [self.identity.to_public(), *self.recipients]))

    def decode(self, data: bytes) -> bytes:
        try:
            return bytes(pyrage.decrypt(data, [self.identity]))
        except pyrage.DecryptError as error:
            raise SecretsError(
                f"{self.path} cannot be opened with your age identity ({error}): ask someone who "
                "can open it to add your public key to `secrets_age_recipients` and run once."
            ) from None


def _parse(path: Path, data: bytes) -> dict[str, str]:
    try:
        values = json.loads(data)
    except ValueError as error:
        raise SecretsError(f"{path} is not the JSON that Hubstead wrote: {error}") from None
    if not isinstance(values, dict):
        raise SecretsError(f"{path} must hold one JSON object")
    return values


def _store() -> PlainStore:
    settings = load(SecretsSettings)
    if settings.secrets_age_file:
        return AgeStore(settings.secrets_age_file, settings.secrets_age_recipients)
    return PlainStore(DIRECTORY / f"{tier_host('hub').name.strip('@')}.json")


@contextmanager
def _locked() -> Generator[None]:
    """Two runs at once must not each make a secret of their own."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    with (DIRECTORY / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _variable(name: str) -> str:
    return f"HUBSTEAD_{name.upper()}"


def generated(name: str) -> str:
    """The secret `name`: 64 hexadecimal digits, made at first use and kept."""
    if value := os.environ.get(_variable(name)):
        return value
    with _locked():
        store = _store()
        values = store.read()
        if name not in values:
            values[name] = secrets.token_hex(32)
            store.write(values)
        return values[name]


def given(name: str) -> str:
    """The secret `name` that only the owner knows. Raises SecretsError where it is missing."""
    value = os.environ.get(_variable(name)) or _store().read().get(name)
    if not value:
        raise SecretsError(
            f"The secret `{name}` is missing: set {_variable(name)} in the environment, or add it "
            f"to {_store().path}."
        )
    return value
