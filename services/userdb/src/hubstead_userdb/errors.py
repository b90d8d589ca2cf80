"""What can go wrong, as a person should read it: one line, with what to do about it."""


class UserdbError(Exception):
    """The message is one line and holds no secret; ``exit_code`` is the command's."""

    exit_code = 1


class RefusedError(UserdbError):
    """The request itself cannot be granted: no such user, a weak password, the last admin."""


class UnavailableError(UserdbError):
    """The users table cannot be reached or used: no connection line, database down, no table."""

    exit_code = 2


def one_line(error: BaseException) -> str:
    """The error's text on one line, as database servers answer on several."""
    return " ".join(str(error).split())
