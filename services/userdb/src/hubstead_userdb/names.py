"""Usernames: the rule that the table enforces, and its explanation."""

import re

#: The same text is a constraint of the table. A name is also a file name (initial passwords) and a
#: part of a URL and of a container's name, hence no slash, and nothing that starts with a dot.
USERNAME_PATTERN = r"^[a-z0-9][a-z0-9._@-]{0,63}$"

# \Z: in Python, unlike in PostgreSQL, "$" would let a trailing newline pass.
_username = re.compile(USERNAME_PATTERN.removesuffix("$") + r"\Z")


def normalised(text: str) -> str:
    """What a person typed as a name, as the table would have it."""
    return text.strip().lower()


def is_username(name: str) -> bool:
    """Whether the table would take the name."""
    return _username.match(name) is not None


def username_problem(name: str) -> str | None:
    """Why the name cannot be a username, in words that follow the name; None when it can."""
    if is_username(name):
        return None
    shown = name if len(name) <= 64 else f"{name[:61]}..."
    return (
        f"{shown!r} cannot be a username: 1 to 64 of a-z 0-9 . _ @ -, "
        "lower-case, starting with a letter or digit"
    )
