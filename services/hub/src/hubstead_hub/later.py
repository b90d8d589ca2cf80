"""Answers that mean "not now": to programs with Retry-After, to people as a page that waits."""

from __future__ import annotations

from tornado import web


class TryLater(web.HTTPError):
    """An answer that names the seconds after which to try again."""

    def __init__(self, status: int, message: str, retry_after: int) -> None:
        super().__init__(status, message)
        # JupyterHub copies these to the answer.
        self.headers = {"Retry-After": str(retry_after)}


class Waiting(TryLater):
    """The same, as a page that tries again by itself (templates/error.html).

    A page comes by GET, so that to load it again sends nothing twice.
    """

    def __init__(self, status: int, heading: str, message: str, retry_after: int) -> None:
        super().__init__(status, message, retry_after)
        self.heading = heading
        self.again = retry_after
