"""What the login is told by its unit: environment variables, and credentials in files."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hubstead_userdb.errors import UserdbError
from hubstead_userdb.passwords import DEFAULT_COST, DEFAULT_MIN_LENGTH

PREFIX = "HUBSTEAD_LOGIN_"


class ConfigurationError(UserdbError):
    """The unit does not say what the login needs, or says it wrongly."""


@dataclass(frozen=True)
class LoginSettings:
    """The login's settings; ``docs/login.md`` lists the variables they come from."""

    dsn_file: Path
    secret_key: str = field(repr=False)
    token_file: Path
    #: As a browser sends them in ``Origin``.
    origins: frozenset[str]
    #: Path of all pages, with a slash at both ends.
    prefix: str
    #: Path to which a login leads when nobody asked for another.
    home: str
    session_minutes: int
    #: Proxies in front that add to ``X-Forwarded-For``.
    proxies: int
    bcrypt_cost: int
    min_length: int


def read(environment: Mapping[str, str] = os.environ) -> LoginSettings:
    """The settings.

    :raises ConfigurationError: with the name of the variable or file that is wrong.
    """

    def variable(name: str, fallback: str | None = None) -> str:
        value = environment.get(PREFIX + name, fallback)
        if value is None:
            raise ConfigurationError(f"{PREFIX}{name} is not set")
        return value

    def checked(name: str, fallback: str | None, right: Callable[[str], bool], what: str) -> str:
        value = variable(name, fallback)
        if not right(value):
            raise ConfigurationError(f"{PREFIX}{name} is {value!r}, but must be {what}")
        return value

    def number(name: str, fallback: int, low: int, high: int) -> int:
        return int(
            checked(
                name,
                str(fallback),
                lambda text: text.isdecimal() and low <= int(text) <= high,
                f"a number from {low} to {high}",
            )
        )

    if "CREDENTIALS_DIRECTORY" not in environment:
        raise ConfigurationError("CREDENTIALS_DIRECTORY is not set (LoadCredential= of the unit)")
    credentials = Path(environment["CREDENTIALS_DIRECTORY"])
    return LoginSettings(
        dsn_file=credentials / "users",
        secret_key=_secret(credentials / "secret-key"),
        token_file=Path(variable("TOKEN_FILE")),
        origins=frozenset(
            checked(
                "ORIGINS",
                None,
                lambda text: bool(text.split()) and all(map(_is_origin, text.split())),
                "origins such as https://hub.example.org:30088, without a slash at the end",
            ).split()
        ),
        prefix=checked("PREFIX", "/auth/", _is_prefix, "a path such as /auth/"),
        home=checked("HOME", "/lab", is_local, "a path such as /lab"),
        session_minutes=number("SESSION_MINUTES", 15, 1, 60 * 24 * 30),
        proxies=number("PROXIES", 1, 0, 9),
        bcrypt_cost=number("BCRYPT_COST", DEFAULT_COST, 4, 15),
        min_length=number("MIN_LENGTH", DEFAULT_MIN_LENGTH, 1, 72),
    )


def is_local(url: str) -> bool:
    """Whether a redirect to the URL stays on this host, in every browser.

    Browsers take a backslash for a slash, and leave control characters out before they read a
    URL (WHATWG URL, "basic URL parser"); so neither may be in it.
    """
    return re.fullmatch(r"/(?![/\\])[^\\\x00-\x20\x7f]*", url) is not None


def _is_origin(text: str) -> bool:
    return re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", text) is not None


def _is_prefix(text: str) -> bool:
    # /internal/ has what only the proxy may ask for.
    return re.fullmatch(r"/([A-Za-z0-9._-]+/)+", text) is not None and text != "/internal/"


def _secret(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {type(error).__name__}") from None
    if len(secret) < 32:
        raise ConfigurationError(f"{path} holds less than 32 characters")
    return secret
