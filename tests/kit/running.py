"""A service of ours that runs beside the tests, and the people in its users table."""

from __future__ import annotations

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.kit.userdb import NEW_PASSWORD, PASSWORD, HubUsers


class Browser(ABC):
    """A person's browser: keeps cookies, fills in the forms it was shown, runs no script."""

    #: Where one changes one's password
    password_page: str

    @abstractmethod
    def post(self, page: str, **fields: str) -> Any:
        """Send the form on the page with what its hidden fields hold."""

    @abstractmethod
    def login(self, username: str) -> Any: ...

    def change_password(
        self, current: str, new: str, again: str | None = None, page: str = "", **fields: str
    ) -> Any:
        return self.post(
            page or self.password_page,
            password=current,
            new_password=new,
            new_password_again=new if again is None else again,
            **fields,
        )


B = TypeVar("B", bound=Browser)


class Running(ABC, Generic[B]):
    """A service as a process of its own."""

    hub_users: HubUsers
    process: subprocess.Popen[bytes]
    log: Path
    #: The status of a login that succeeds
    lets_in: int

    @abstractmethod
    def answers(self) -> bool: ...

    @abstractmethod
    def browser(self) -> B:
        """Of somebody who has not logged in."""

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.answers():
                return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        """As systemd does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=40) == 0

    def person(self, name: str, *options: str) -> B:
        """Add a user, return their browser."""
        self.hub_users.ok("add", name, "--password-stdin", *options, stdin=f"{PASSWORD}\n")
        return self.browser()

    def logged_in(self, name: str, *options: str) -> B:
        """Add a user, return a browser in which they are logged in."""
        browser = self.person(name, *options)
        assert browser.login(name).status_code == self.lets_in
        return browser


@contextmanager
def running(service: Running[Any], *secrets: str) -> Iterator[None]:
    """While tests use the service; afterwards its log has no error, and no secret."""
    try:
        service.wait()
        yield
    finally:
        service.stop()
    log = service.log.read_text()
    for text in (PASSWORD, NEW_PASSWORD, "Traceback", *secrets):
        assert text not in log
