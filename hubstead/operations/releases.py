"""Releases: one directory a component, built beside the current one from a hash-pinned lock.

    /opt/hubstead/COMPONENT/releases/NAME     a virtualenv, or node_modules; `.complete` comes last
    /opt/hubstead/COMPONENT/current           link to the release in use

NAME is a hash over all that goes into the release, so the same inputs are never built twice, and a
build that was cut (no `.complete`) is built again from nothing, or removed when its inputs are
history. A virtualenv's has its interpreter's version too: a distribution's next release brings
another under the same path, which sees nothing of what was installed for the former.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import host

from hubstead.operations.files import link

ROOT = "/opt/hubstead"
UV = f"{ROOT}/uv/current/bin/uv"


_LOCKS = Path(__file__).parents[2] / "locks"


def lock(component: str, *parts: str) -> str:
    """The hash-pinned requirements of a component and its parts, as `make locks` wrote them."""
    whole = (_LOCKS / f"{component}.txt").read_text()
    return whole + "".join(part_lock(component, part) for part in parts)


def part_lock(component: str, part: str) -> str:
    """Those of a part alone, which go with the component's."""
    return (_LOCKS / component / f"{part}.txt").read_text()


def npm_lock(component: str) -> tuple[str, str]:
    """The package.json of a component and its lock, as `make locks` wrote it."""
    manifest, lock = "package.json", "package-lock.json"
    return (_LOCKS / component / manifest).read_text(), (_LOCKS / component / lock).read_text()


@dataclass(frozen=True)
class Wheel:
    """A wheel of ours that is installed, without dependencies, after the lock."""

    path: Path
    identity: str
    """A digest of its sources: what makes a release that contains it another release."""


@dataclass(frozen=True)
class ReleaseState:
    """The complete releases, oldest first; the one in use; what cut builds and removals left.

    `python` is the version of the interpreter asked about, `pythons` those of the virtualenvs.
    """

    complete: tuple[str, ...] = ()
    current: str | None = None
    incomplete: tuple[str, ...] = ()
    python: str = ""
    pythons: dict[str, str] = field(default_factory=dict)

    def virtualenv(self, digest: str) -> str:
        """The name of the virtualenv of these inputs.

        In earlier versions it was the digest alone: such a one stays in use while it works.
        """
        if self.pythons.get(digest) == self.python:
            return digest
        return f"{digest}-python{self.python}"


def parse_releases(lines: Iterable[str]) -> ReleaseState:
    """The state from the lines that the command of `Releases` prints."""
    directories, times, current = set(), {}, None
    python, pythons = "", {}
    for line in lines:
        tag, _, value = line.partition(" ")
        if tag == "current":
            current = value.rsplit("/", 1)[-1]
        elif tag == "release":
            directories.add(value)
        elif tag == "python":
            python = value
        elif tag == "virtualenv":
            *_, name, _, version = value.split("/")
            pythons[name] = version.removeprefix("python")
        elif tag == "complete":
            time, path = value.split(" ", 1)
            times[path.split("/")[-2]] = float(time)
    complete = tuple(sorted(times, key=times.__getitem__))
    incomplete = tuple(sorted(directories - set(complete)))
    return ReleaseState(complete, current, incomplete, python, pythons)


class Releases(FactBase[ReleaseState]):
    """The releases of a component, and the version of the interpreter that they are built on."""

    @staticmethod
    def default() -> ReleaseState:
        return ReleaseState()

    def command(self, component: str, python: str = "") -> StringCommand:
        root = f"{ROOT}/{component}"
        version = r"sed -n 's/^Python \([0-9]*\.[0-9]*\).*/python \1/p'"
        asked = (QuoteString(python), "--version 2>/dev/null |", version, ";") if python else ()
        return StringCommand(
            *asked,
            f"find {root}/releases -mindepth 3 -maxdepth 3 -path '*/lib/python3.*'"
            " -printf 'virtualenv %p\\n' 2>/dev/null;",
            f"find {root}/current -maxdepth 0 -printf 'current %l\\n' 2>/dev/null;",
            f"find {root}/releases -mindepth 1 -maxdepth 1 -type d"
            " -printf 'release %f\\n' 2>/dev/null;",
            f"find {root}/releases -mindepth 2 -maxdepth 2 -name .complete -perm -004"
            " -printf 'complete %T@ %p\\n' 2>/dev/null; true",
        )

    def process(self, output: list[str]) -> ReleaseState:
        try:
            return parse_releases(output)
        except (ValueError, IndexError) as error:
            raise FactProcessError(f"unreadable list of releases: {error}") from error


def digest(
    lock_text: str, python: str, wheels: Sequence[Wheel], further: Sequence[str] | None = None
) -> str:
    """What tells the release that these inputs make from all others."""
    people = [] if further is None else ["people", *further]
    inputs = "\0".join([lock_text, python, *(wheel.identity for wheel in wheels), *people])
    return hashlib.sha256(inputs.encode()).hexdigest()[:12]


# flock: a build that an earlier, killed run left behind may still be going on
_PREPARE = """
set -eu
umask 022
root=$1 release=$2 python=$3
mkdir -p "$root/releases" "$root/tmp"
exec 9>"$root/tmp/lock"
flock 9
# one that only root could read, as earlier versions made it where root's umask says so
find "$release/.complete" ! -perm -004 -delete 2>/dev/null || :
[ ! -e "$release/.complete" ] || exit 0
cat >"$root/tmp/lock-text"
"""
_BUILD = (
    _PREPARE
    + """
uv=/opt/hubstead/uv/current/bin/uv
"$uv" venv --quiet --clear --no-project --python "$python" "$release"
"$uv" pip install --quiet --python "$release/bin/python" --require-hashes --compile-bytecode \\
    --requirements "$root/tmp/lock-text"
"""
)
# With pip, and with the system's site packages in view, `pip install --user` works in it too.
_BUILD_FOR_PEOPLE = (
    _PREPARE
    + """
uv=/opt/hubstead/uv/current/bin/uv
further=$4
"$python" -m venv --clear --system-site-packages "$release"
"$uv" pip install --quiet --python "$release/bin/python" --require-hashes --compile-bytecode \\
    --requirements "$root/tmp/lock-text"
if [ -n "$further" ]; then
    printf '%s\\n' "$further" >"$root/tmp/further"
    "$uv" pip install --quiet --python "$release/bin/python" --compile-bytecode \\
        --constraints "$root/tmp/lock-text" --requirements "$root/tmp/further"
fi
"""
)
# uv leaves a lock in the virtualenv that everybody may write
_COMPLETE = (
    'set -eu; umask 022; rm -f "$1/.lock"; touch "$1/.complete"; sync -f "$1/.complete"'
    '; rm -rf "$2/tmp"'
)


def _upload(path: str, data: bytes) -> StringCommand:
    """Write a file, and fail unless it is what was sent."""
    line = f"{hashlib.sha256(data).hexdigest()}  {path}"
    return StringCommand(
        "mkdir", "-p", QuoteString(path.rsplit("/", 1)[0]), "&&",
        "base64", "-d", ">", QuoteString(path), "&&",
        "echo", QuoteString(line), "|", "sha256sum", "--quiet", "--strict", "--check",
        _stdin=base64.b64encode(data).decode(),
    )  # fmt: skip


@operation()
def current(
    component: str,
    lock_text: str,
    python: str = "/usr/bin/python3",
    wheels: Sequence[Wheel] = (),
    keep: int = 3,
    env: dict[str, str] | None = None,
    further: Sequence[str] | None = None,
) -> Generator[StringCommand]:
    """Ensure that `current` of a component is a complete release of these inputs.

    + component: its directory below /opt/hubstead.
    + lock_text: requirements with hashes; nothing else is installed (pip's --require-hashes).
    + python: the interpreter on the host.
    + wheels: wheels of ours, sent from here.
    + keep: how many complete releases stay, the current one included.
    + env: environment of the build: package index, certificates.
    + further: what its owner wants in it besides, pinned; it is for people then, who may install
      more for themselves (`pip install --user`).
    """
    root = f"{ROOT}/{component}"
    state = host.get_fact(Releases, component, python)
    name = state.virtualenv(digest(lock_text, python, wheels, further))
    release = f"{root}/releases/{name}"
    environment = {
        "UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "1", "UV_HTTP_RETRIES": "6",
        **(env or {}),
    }  # fmt: skip

    if name not in state.complete:
        script, words = _BUILD, [root, release, QuoteString(python)]
        if further is not None:
            script, words = _BUILD_FOR_PEOPLE, [*words, QuoteString("\n".join(further))]
        yield StringCommand(
            "sh", "-c", QuoteString(script), "sh", *words,
            _stdin=lock_text, _env=environment,
        )  # fmt: skip
        for wheel in wheels:
            target = f"{root}/tmp/{wheel.path.name}"
            yield _upload(target, wheel.path.read_bytes())
            yield StringCommand(
                "umask 022;", UV, "pip install --quiet --no-deps --compile-bytecode --python",
                f"{release}/bin/python", QuoteString(target), _env=environment,
            )  # fmt: skip
        yield StringCommand("sh", "-c", QuoteString(_COMPLETE), "sh", release, root)
    if state.current != name:
        yield link(f"releases/{name}", f"{root}/current")
    yield from _collect(component, state, name, keep)


def _collect(component: str, state: ReleaseState, name: str, keep: int) -> Generator[StringCommand]:
    in_use = {name, state.current} - {None}
    others = [other for other in state.complete if other not in in_use]
    for old in others[: max(len(others) + len(in_use) - keep, 0)]:
        path = f"{ROOT}/{component}/releases/{old}"
        # the mark first: what is left of a removal that is cut must not pass for a release
        yield StringCommand(
            "rm", "-f", QuoteString(f"{path}/.complete"), "&&", "rm", "-rf", QuoteString(path)
        )
    for cut in state.incomplete:
        if cut not in in_use:
            yield StringCommand("rm", "-rf", QuoteString(f"{ROOT}/{component}/releases/{cut}"))


_BOOTSTRAP = (
    _PREPARE
    + """
"$python" -m venv --clear "$release"
"$release/bin/python" -m pip install --quiet --disable-pip-version-check --retries 8 \\
    --require-hashes --requirement "$root/tmp/lock-text"
"""
)


@operation()
def bootstrap(python: str, env: dict[str, str], keep: int = 3) -> Generator[StringCommand]:
    """As `current`, for the component `uv`: pip builds this one."""
    root = f"{ROOT}/uv"
    text = lock("uv")
    state = host.get_fact(Releases, "uv", python)
    name = state.virtualenv(digest(text, python, ()))
    release = f"{root}/releases/{name}"
    if name not in state.complete:
        yield StringCommand(
            "sh", "-c", QuoteString(_BOOTSTRAP), "sh", root, release, QuoteString(python),
            _stdin=text, _env=env,
        )  # fmt: skip
        yield StringCommand("sh", "-c", QuoteString(_COMPLETE), "sh", release, root)
    if state.current != name:
        yield link(f"releases/{name}", f"{root}/current")
    yield from _collect("uv", state, name, keep)


# npm reads its lock in the directory that it installs to
_NPM = (
    _PREPARE
    + """
rm -rf "$release"
mkdir "$release"
cp "$root/tmp/lock-text" "$release/package-lock.json"
printf '%s' "$4" >"$release/package.json"
cd "$release"
npm ci --ignore-scripts --omit=dev --no-audit --no-fund --no-update-notifier --loglevel=error \\
    --cache "$root/tmp/npm" >/dev/null
"""
)


@operation()
def npm(component: str, env: dict[str, str], keep: int = 3) -> Generator[StringCommand]:
    """As `current`, for a component of npm packages; none of their scripts is run.

    npm ci(1): fails where a package is not what the lock's `integrity` says.
    """
    root = f"{ROOT}/{component}"
    manifest, text = npm_lock(component)
    name = digest(manifest + text, "npm", ())
    release = f"{root}/releases/{name}"
    state = host.get_fact(Releases, component)
    if name not in state.complete:
        yield StringCommand(
            "sh", "-c", QuoteString(_NPM), "sh", root, release, "npm", QuoteString(manifest),
            _stdin=text, _env={"PATH": f"{ROOT}/node/current/bin:/usr/bin:/bin", **env},
        )  # fmt: skip
        yield StringCommand("sh", "-c", QuoteString(_COMPLETE), "sh", release, root)
    if state.current != name:
        yield link(f"releases/{name}", f"{root}/current")
    yield from _collect(component, state, name, keep)
