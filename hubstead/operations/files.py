"""Files, directories and links on the host: one fact for all of a role's paths, atomic writes.

pyinfra's `files.put` passes secrets through a world-readable /tmp and sets the mode afterwards
(pyinfra-dev/pyinfra#1085). Here content travels on standard input into a temporary file beside
the target that is 0600 until its owner and mode are right; rename(2) then puts it in place, so a
reader, or a run that is cut, sees the old file or the new one.

Some directories belong to accounts that are not root. Owner and mode are set through descriptors of
what was opened without following a link, so that a link that such an account puts there, also in
between, leads nobody astray. A link of root's to a directory is the owner's way of keeping it on
another disk: it stays, and what it leads to is made right.

What was written last is noted down, as a digest a file: what is neither that nor what is to be
written was edited by the owner. So is the owner's what was never noted down, and names Hubstead
neither in its path nor in its text, as our files do. The run says so, and keeps it.
"""

from __future__ import annotations

import base64
import hashlib
import stat
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from pyinfra import logger
from pyinfra.api import (
    FactBase,
    FactProcessError,
    OperationValueError,
    QuoteString,
    StringCommand,
    operation,
)
from pyinfra.context import host

#: Of the host, below which it is noted what was written, and kept what was edited
STATE = "/var/lib/hubstead"
#: Where nobody edits: what is there is made anew, or counts by being there
_OUR_TREES = (f"{STATE}/", "/opt/hubstead/")
Kind = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True)
class PathState:
    """What lies at a path: `mode` as octal digits, `sha256` of a file, `target` of a link.

    Of a link also what it leads to in the end, with its path: None where nothing is. `doubtful` is
    what on the way there somebody else than root could have made, None where nothing is. `written`
    is the digest of what was written last, None where that is not known. `unnamed`: the text of the
    file does not name Hubstead.
    """

    kind: Kind
    mode: str
    user: str
    group: str
    sha256: str | None = None
    target: str | None = None
    end: tuple[str, PathState] | None = None
    doubtful: str | None = None
    written: str | None = field(default=None, compare=False)
    unnamed: bool = field(default=False, compare=False)

    @property
    def edited(self) -> bool:
        """Whether it is a file that somebody else has changed since."""
        return self.kind == "file" and self.written not in (None, self.sha256)

    @property
    def foreign(self) -> bool:
        """Whether it is a file that was there before."""
        return self.kind == "file" and self.written is None and self.unnamed


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
    """A directory as it should be; its parents are made with mode 755."""

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
    ways: dict[str, list[str]] = {}
    for line in lines:
        tag, _, rest = line.partition(" ")
        if tag == "stat":
            path, state = _state(rest)
            states[path] = state
        elif tag == "sum":
            digest, path = rest.split("  ", 1)
            states[path] = replace(states[path], sha256=digest)
        elif tag == "unnamed":
            states[rest] = replace(states[rest], unnamed=True)
        elif tag == "link":
            path, target = rest.split("|", 1)
            states[path] = replace(states[path], target=target)
        elif tag == "end":
            path, end = rest.split("||", 1)
            states[path] = replace(states[path], end=_state(end))
        elif tag == "way":
            if rest.startswith("f: "):
                way = ways.setdefault(rest.removeprefix("f: "), [])
            else:
                way.append(rest)
        elif tag == "note":
            name, digest = rest.rsplit(":", 1)
            if (path := name.replace("%2F", "/").replace("%25", "%")) in states:
                states[path] = replace(states[path], written=digest)
    for path, way in ways.items():
        states[path] = replace(states[path], doubtful=doubtful(way))
    return states


def _state(text: str) -> tuple[str, PathState]:
    bits, user, group, path = text.split("|", 3)
    mode = int(bits, 16)
    return path, PathState(_kind(mode), f"{stat.S_IMODE(mode):o}", user, group)


def doubtful(way: Iterable[str]) -> str | None:
    """The first name on a way over links that is not root's alone, None where there is none.

    All links are to be root's, and the directories behind the first one too, so that nobody else
    chose where they lead; not the last, whose owner is for others to say.

    + way: the lines that namei(1) prints with --long.
    """
    linked = False
    parts = [line.split(None, 3) for line in way if line.strip()]
    for mode, user, group, name in (part for part in parts[:-1] if len(part) == 4):
        if mode.startswith("l"):
            linked = True
            shared = False
        else:
            shared = mode[8] == "w" or (mode[5] == "w" and group != "root")
        if linked and (user != "root" or shared):
            return name.partition(" -> ")[0]
    return None


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


_FOLLOW = """
for path; do
    namei --long "$path" | sed 's/^/way /'
    end=$(readlink -e "$path") && printf 'end %s||' "$path" &&
        stat --printf '%f|%U|%G|%n\\n' "$end"
done
"""


def _note(path: str) -> str:
    """Its name."""
    return path.replace("%", "%25").replace("/", "%2F")


def note_on(path: str) -> str:
    """The file with the digest of what was written at a path."""
    return f"{STATE}/written/{_note(path)}"


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
            "grep -sLi -d skip -D skip hubstead --", *quoted, "| sed 's/^/unnamed /';",
            "find", *quoted, "-maxdepth 0 -type l -printf 'link %p|%l\\n'",
            "-exec sh -c", QuoteString(_FOLLOW), "sh {} + 2>/dev/null;",
            "cd", f"{STATE}/written", "2>/dev/null &&",
            "grep -sH '' --", *[QuoteString(_note(path)) for path in paths],
            "| sed 's/^/note /'; true",
        )  # fmt: skip

    def process(self, output: list[str]) -> dict[str, PathState]:
        try:
            return parse_paths(output)
        except (ValueError, KeyError) as error:
            raise FactProcessError(f"unreadable output of stat: {error}") from error


#: For scripts on the host: puts what `read` returns in its place in one step, by a name beside it
#: that nobody foresees. What a cut run left there goes. Python, since a shell has no O_NOFOLLOW.
PUT = """
import glob, os
def put(path, read, uid, gid, mode):
    new = f"{path}.hubstead.{os.urandom(3).hex()}"
    for left in glob.glob(glob.escape(path) + ".hubstead.??????"):
        os.unlink(left)
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(file, "wb") as stream:
            data = read()
            stream.write(data)
            stream.flush()
            os.fchown(file, uid, gid)
            os.fchmod(file, mode)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
    return data
"""
_REMEMBER = """
import os, sys
def note(state, path, digest):
    os.makedirs(f"{state}/written", 0o700, exist_ok=True)
    file = os.open(f"{state}/.written", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(file, "w") as stream:
        stream.write(digest)
    name = path.replace("%", "%25").replace("/", "%2F")
    os.rename(f"{state}/.written", f"{state}/written/{name}")
"""
WRITE = f"""{PUT}{_REMEMBER}
import base64, grp, hashlib, pwd
path, user, group, mode, state = sys.argv[1:]
try:
    uid, gid = pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    data = put(path, lambda: base64.b64decode(sys.stdin.buffer.read()), uid, gid, int(mode, 8))
    if state:
        note(state, path, hashlib.sha256(data).hexdigest())
except (OSError, LookupError) as error:
    sys.exit(f"{{path}}: {{error}}")
"""
_NOTE = f"""{_REMEMBER}
state, *pairs = sys.argv[1:]
for path, digest in zip(pairs[::2], pairs[1::2]):
    note(state, path, digest)
"""
_KEEP = f"""{PUT}
import sys, time
path, state = sys.argv[1:]
copy = f"{{state}}/edited{{path}}.{{time.strftime('%Y-%m-%dT%H:%M:%S')}}"
os.umask(0o077)
try:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        about, data = os.fstat(stream.fileno()), stream.read()
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    put(copy, lambda: data, about.st_uid, about.st_gid, about.st_mode & 0o7777)
except OSError as error:
    sys.exit(f"{{path}}: {{error}}")
"""
_OWN = """
import grp, os, pwd, sys
path, user, group, mode = sys.argv[1:]
try:
    there = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    os.fchown(there, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
    os.fchmod(there, int(mode, 8))
except (OSError, LookupError) as error:
    sys.exit(f"{path}: {error}")
"""


def write(path: str, file: File, state: str = "") -> StringCommand:
    """The command that puts `file` at `path` atomically; the content is its standard input.

    What an earlier run, cut in its midst, left beside the file goes.

    + state: the directory in which it is noted what was written; "" for none.
    """
    stdin = base64.b64encode(file.data).decode()
    return StringCommand(*_python(WRITE, path, file), QuoteString(state), _stdin=stdin)


def _python(script: str, path: str, entry: File | Directory) -> list[str | QuoteString]:
    return [
        "python3 -I -S -c", QuoteString(script), QuoteString(path),
        entry.user, entry.group, entry.mode,
    ]  # fmt: skip


def _noted(path: str) -> str:
    """The directory in which it is noted what was written at a path; "" for none."""
    return "" if path.startswith(_OUR_TREES) else STATE


def _is_shared(path: str) -> bool:
    """Whether others may have a file there, by its name."""
    return "hubstead" not in path


def _removed(path: str, have: PathState) -> Generator[StringCommand]:
    yield StringCommand("rm", "-rf", "--", QuoteString(path))
    # of what is below, too
    note = QuoteString(note_on(path))
    if have.written or have.kind == "directory":
        yield StringCommand("rm", "-f", "--", note, StringCommand(note, "%2F*", _separator=""))


def _converge(path: str, want: Entry, have: PathState | None) -> Generator[StringCommand]:
    if want is None:
        if have is not None:
            yield from _removed(path, have)
    elif have is not None and have.kind == "directory" and not isinstance(want, Directory):
        raise OperationValueError(f"{path} is a directory: move it away first")
    elif isinstance(want, Link):
        if have is None or have.target != want.target:
            yield link(want.target, path)
    elif isinstance(want, File):
        state = want.as_state()
        if have is None or (have.kind, have.sha256) != (state.kind, state.sha256):
            yield write(path, want, _noted(path))
        elif have != state:
            yield StringCommand(*_python(_OWN, path, want))
    else:
        if have is not None and have.kind == "link":
            path, have = _behind(path, have)
        if have is None or have.kind != "directory":
            # as others have to get through them, whatever root's own umask is
            yield StringCommand("umask 022; mkdir -p --", QuoteString(path))
        if have != want.as_state():
            yield StringCommand(*_python(_OWN, path, want))


def _behind(path: str, state: PathState) -> tuple[str, PathState]:
    """The directory that a link leads to, and its path."""
    if state.end is None or state.end[1].kind != "directory":
        raise OperationValueError(
            f"{path} is a link to {state.target}, where no directory is: is its disk there?"
        )
    if state.doubtful:
        raise OperationValueError(
            f"{path} is a link to {state.target}, and on the way there {state.doubtful} is not "
            "root's alone: another account could lead this run astray. Remove the link, or let "
            "it and the directories above what it leads to belong to root."
        )
    return state.end


def link(target: str, path: str) -> StringCommand:
    """The command that makes `path` a link to `target` in one rename."""
    return StringCommand(
        "ln", "-sfT", QuoteString(target), QuoteString(f"{path}.new"),
        "&&", "mv", "-fT", QuoteString(f"{path}.new"), QuoteString(path),
    )  # fmt: skip


class EmptyDirectories(FactBase[list[str]]):
    """Directories without anything in them, at some paths and below. Rule: find(1), -empty."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, paths: list[str]) -> StringCommand:
        quoted = [QuoteString(path) for path in paths]
        return StringCommand("find", *quoted, "-depth -type d -empty 2>/dev/null || true")

    def process(self, output: list[str]) -> list[str]:
        return list(output)


@operation()
def cleared(paths: Sequence[str]) -> Generator[StringCommand]:
    """Ensure that directories in which nothing is left are gone, with those below them."""
    if host.get_fact(EmptyDirectories, list(paths)):
        quoted = [QuoteString(path) for path in paths]
        yield StringCommand("find", *quoted, "-depth -type d -empty -delete 2>/dev/null || true")


@operation()
def present(entries: Mapping[str, Entry]) -> Generator[StringCommand]:
    """Ensure that each path is as its entry says: a File, a Directory, a Link, or None (absent).

    + entries: absolute path to entry, in the order in which they are made.

    A file that was edited since it was written, or was there before, is kept below
    /var/lib/hubstead/edited, with the date, its owner and its mode; that directory is root's alone.

    Raises OperationValueError for a path that is not absolute, and where a directory stands in
    the way of a file.
    """
    for path in entries:
        if not PurePosixPath(path).is_absolute():
            raise OperationValueError(f"{path} is not an absolute path")
    have = host.get_fact(Paths, list(entries)) if entries else {}
    right: list[str | QuoteString] = []
    for path, want in entries.items():
        there = have.get(path)
        state = want.as_state() if isinstance(want, File) else None
        if there and state and (there.kind, there.sha256) == (state.kind, state.sha256):
            if _noted(path) and there.written != state.sha256:
                right += [QuoteString(path), str(state.sha256)]
        elif there and (there.edited or (there.foreign and _is_shared(path))):
            what = "was edited since Hubstead wrote it" if there.edited else "was there before"
            logger.warning(
                f"{host.name}: {path} {what}. A run makes it as the settings say, and keeps what "
                f"it was in {STATE}/edited{path}.DATE"
            )
            yield StringCommand("python3 -I -S -c", QuoteString(_KEEP), QuoteString(path), STATE)
        yield from _converge(path, want, there)
    if right:
        # of an earlier version, or of a run that was cut
        yield StringCommand("python3 -I -S -c", QuoteString(_NOTE), STATE, *right)
