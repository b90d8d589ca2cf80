"""Files, directories and links on the host: one fact for all of a role's paths, atomic writes.

pyinfra's `files.put` passes secrets through a world-readable /tmp and sets the mode afterwards
(pyinfra-dev/pyinfra#1085). Here content travels on standard input into a temporary file beside
the target that is 0600 until its owner and mode are right; rename(2) then puts it in place, so a
reader, or a run that is cut, sees the old file or the new one.
"""

from __future__ import annotations

import base64
import hashlib
import stat
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from pyinfra.api import (
    FactBase,
    FactProcessError,
    OperationValueError,
    QuoteString,
    StringCommand,
    operation,
)
from pyinfra.context import host

Kind = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True)
class PathState:
    """What lies at a path: `mode` as octal digits, `sha256` of a file, `target` of a link."""

    kind: Kind
    mode: str
    user: str
    group: str
    sha256: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class File:
    """A regular file as it should be. `content` never shows in a repr: it may be a secret."""

    content: bytes | str
    mode: str = "644"
    user: str = "root"
    group: str = "root"

    @property
    def data(self) -> bytes:
        return self.content.encode() if isinstance(self.content, str) else self.content

    def __repr__(self) -> str:
        return f"File({len(self.data)} bytes, {self.mode}, {self.user}:{self.group})"

    def as_state(self) -> PathState:
        digest = hashlib.sha256(self.data).hexdigest()
        return PathState("file", self.mode, self.user, self.group, sha256=digest)


@dataclass(frozen=True)
class Directory:
    """A directory as it should be; its parents are made with the defaults of mkdir(1)."""

    mode: str = "755"
    user: str = "root"
    group: str = "root"

    def as_state(self) -> PathState:
        return PathState("directory", self.mode, self.user, self.group)


@dataclass(frozen=True)
class Link:
    """A symbolic link as it should be."""

    target: str


Entry = File | Directory | Link | None


def secret(content: str, user: str = "root", group: str = "root", mode: str = "600") -> File:
    """A file that only its owner reads."""
    return File(content, mode=mode, user=user, group=group)


def parse_paths(lines: Iterable[str]) -> dict[str, PathState]:
    """The states by path, from the lines that the command of `Paths` prints."""
    states: dict[str, PathState] = {}
    for line in lines:
        tag, _, rest = line.partition(" ")
        if tag == "stat":
            bits, user, group, path = rest.split("|", 3)
            mode = int(bits, 16)
            states[path] = PathState(_kind(mode), f"{stat.S_IMODE(mode):o}", user, group)
        elif tag == "sum":
            digest, path = rest.split("  ", 1)
            states[path] = replace(states[path], sha256=digest)
        elif tag == "link":
            path, target = rest.split("|", 1)
            states[path] = replace(states[path], target=target)
    return states


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


class Paths(FactBase[dict[str, PathState]]):
    """What lies at each of some absolute paths; absent ones are missing from the result."""

    @staticmethod
    def default() -> dict[str, PathState]:
        return {}

    def command(self, paths: list[str]) -> StringCommand:
        quoted = [QuoteString(path) for path in paths]
        # %f and not %F, whose words are in the language of the host. sha256sum follows links and
        # complains about directories: both are sorted out in `process`.
        return StringCommand(
            "stat --printf 'stat %f|%U|%G|%n\\n' --", *quoted, "2>/dev/null;",
            "sha256sum --", *quoted, "2>/dev/null | sed 's/^/sum /';",
            "find", *quoted, "-maxdepth 0 -type l -printf 'link %p|%l\\n' 2>/dev/null; true",
        )  # fmt: skip

    def process(self, output: list[str]) -> dict[str, PathState]:
        try:
            return parse_paths(output)
        except (ValueError, KeyError) as error:
            raise FactProcessError(f"unreadable output of stat: {error}") from error


def write(path: str, file: File) -> StringCommand:
    """The command that puts `file` at `path` atomically; the content is its standard input.

    What an earlier run, cut in its midst, left beside the file goes.
    """
    script = (
        'umask 077; rm -f "$1".hubstead.??????; t=$(mktemp "$1.hubstead.XXXXXX")'
        ' && trap \'rm -f "$t"\' EXIT && base64 -d >"$t"'
        ' && chown "$2" "$t" && chmod "$3" "$t" && mv -fT "$t" "$1"'
    )
    owner = f"{file.user}:{file.group}"
    return StringCommand(
        "sh", "-c", QuoteString(script), "sh", QuoteString(path), owner, file.mode,
        _stdin=base64.b64encode(file.data).decode(),
    )  # fmt: skip


def _converge(path: str, want: Entry, have: PathState | None) -> Generator[StringCommand]:
    target = QuoteString(path)
    if want is None:
        if have is not None:
            yield StringCommand("rm", "-rf", "--", target)
    elif isinstance(want, Link):
        if have is None or have.target != want.target:
            if have is not None and have.kind == "directory":
                raise OperationValueError(f"{path} is a directory: move it away first")
            yield link(want.target, path)
    else:
        state = want.as_state()
        kind, content_differs = state.kind, have is None or have.sha256 != state.sha256
        if have is not None and have.kind == "directory" != kind:
            raise OperationValueError(f"{path} is a directory: move it away first")
        if isinstance(want, File) and (content_differs or have is None or have.kind != "file"):
            yield write(path, want)
            return
        if have is None or have.kind != kind:
            yield StringCommand("mkdir", "-p", "--", target)
        if have is None or (have.user, have.group) != (state.user, state.group):
            yield StringCommand("chown", "-h", f"{state.user}:{state.group}", target)
        if have is None or have.mode != state.mode:
            # five digits: with fewer, a directory keeps the setgid bit that it inherited (chmod(1))
            yield StringCommand("chmod", state.mode.zfill(5), target)


def link(target: str, path: str) -> StringCommand:
    """The command that makes `path` a link to `target` in one rename."""
    return StringCommand(
        "ln", "-sfT", QuoteString(target), QuoteString(f"{path}.new"),
        "&&", "mv", "-fT", QuoteString(f"{path}.new"), QuoteString(path),
    )  # fmt: skip


@operation()
def present(entries: Mapping[str, Entry]) -> Generator[StringCommand]:
    """Ensure that each path is as its entry says: a File, a Directory, a Link, or None (absent).

    + entries: absolute path to entry, in the order in which they are made.

    Raises OperationValueError for a path that is not absolute, and where a directory stands in
    the way of a file.
    """
    for path in entries:
        if not PurePosixPath(path).is_absolute():
            raise OperationValueError(f"{path} is not an absolute path")
    have = host.get_fact(Paths, list(entries)) if entries else {}
    for path, want in entries.items():
        yield from _converge(path, want, have.get(path))
