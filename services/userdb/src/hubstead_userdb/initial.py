"""Generated passwords, kept where only root reads them until their users have changed them."""

import os
import tempfile
from pathlib import Path

DIRECTORY = Path("/var/lib/hubstead/userdb/initial-passwords")


class InitialPasswords:
    """A directory (0700) with one file (0600) a user.

    A password is in its file before the row that needs it is committed, and the one before it
    stays in the file until then. So whatever is cut where, the password that the row's hash was
    made from is among the file's lines, and the hash tells which one it is.
    """

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """Users with a file, sorted."""
        if not self.directory.is_dir():
            return []
        # A leading dot: a file that a cut left half-written. No username starts with one.
        return sorted(path.name for path in self.directory.iterdir() if path.name[0] != ".")

    def candidates(self, username: str) -> list[str]:
        """The passwords in the user's file, newest first; empty without a file."""
        try:
            return (self.directory / username).read_text(encoding="ascii").split()
        except FileNotFoundError:
            return []

    def propose(self, username: str, password: str) -> None:
        """Before the commit: put the password first, and keep what is there."""
        self._write(username, [password, *self.candidates(username)])

    def settle(self, username: str) -> None:
        """After the commit: keep only the newest."""
        candidates = self.candidates(username)
        if len(candidates) > 1:
            self._write(username, candidates[:1])

    def forget(self, username: str) -> bool:
        """Delete the user's file; return whether there was one."""
        try:
            (self.directory / username).unlink()
        except FileNotFoundError:
            return False
        return True

    def _write(self, username: str, passwords: list[str]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        # mkstemp makes the file 0600 before it has content.
        descriptor, name = tempfile.mkstemp(dir=self.directory, prefix=".")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write("".join(f"{password}\n" for password in passwords))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.directory / username)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
