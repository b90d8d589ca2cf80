#!/usr/bin/python3 -I
"""Written by Hubstead: people's files, a directory each, which belongs to a uid of its own.

    people-files PLACES answer        one request on standard input, one answer on standard output
    people-files PLACES adopt NAME…   move their volumes of earlier versions to where files are

The Hub asks before it starts a server, and when an account is gone. PLACES is a JSON document,
`Places` says what is in it. A request is one line, the answer another:

    {"want": NAME, "account": ID}     {"uid": UID}, once the directory is there
    {"leave": NAME, "account": ID}    {}, once it is out of the way of the next one of that name
                                      {"error": WORDS} instead of either

NAME is as DockerSpawner escapes it, ID what tells an account from the next one of its name. It can
be cut anywhere: what was begun is finished at the next request for the same name.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

NAME = re.compile(r"(?:[a-z0-9]|-[0-9a-f]{2})+", re.ASCII)
ACCOUNT = re.compile(r"[A-Za-z0-9_.-]{0,100}", re.ASCII)
#: Bytes of a request
LINE = 1000
#: Seconds in which it has to be here
PATIENCE = 10
#: What new people find, as useradd(8) has it
SKELETON = Path("/etc/skel")


class FilesError(Exception):
    """Why there are no files for somebody at the moment; the person reads it."""


@dataclass(frozen=True)
class Places:
    """Where files are.

    + files: the directory of people's directories, of root.
    + volumes: a volume of earlier versions is named this and its owner.
    + uids: the first and the last that people's files belong to; no account of the host has one.
    + gid: of all files: the group of the image's user.
    """

    files: str
    volumes: str
    uids: tuple[int, int]
    gid: int


def docker(*arguments: str) -> str:
    """What docker prints. Raises FilesError when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FilesError(f"docker {arguments[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


class Files:
    """People's directories. Those whose names begin with a dot hold what no server has:

    + .accounts: a file each, which says whose it is.
    + .copying: what is not whole yet, and can be made again.
    + .moving: what is whole, and does not belong to its uid yet.
    + .removed: files of accounts that are gone, by name and time; nobody but root removes them.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.root = Path(places.files)
        self.accounts, self.copying, self.moving, self.removed = (
            self.root / f".{name}" for name in ("accounts", "copying", "moving", "removed")
        )

    def want(self, name: str, account: str) -> int:
        """The uid of somebody's directory, which is there then."""
        with self._locked(name):
            directory, owner = self.root / name, self._owner(name)
            if account and owner not in ("", account):
                self._put_aside(name)
            self._adopt(name)
            if not directory.exists():
                self._copy(SKELETON, name)
                self._finish(name)
            uid, (first, last) = directory.stat().st_uid, self.places.uids
            if not first <= uid <= last:
                raise FilesError(
                    f"{directory} belongs to the uid {uid}, which is none from {first} to {last}: "
                    "it may be somebody else's"
                )
            self._note(name, account)
            return uid

    def leave(self, name: str, account: str) -> None:
        """Whoever has the name next finds nothing of this account."""
        with self._locked(name):
            if account and self._owner(name) not in ("", account):
                # somebody else by now
                return
            self._adopt(name)
            self._put_aside(name)

    def adopt(self, name: str) -> None:
        """Move a volume of an earlier version; nothing where there is none, or a directory."""
        with self._locked(name):
            self._adopt(name)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        for directory in (self.accounts, self.copying, self.moving, self.removed):
            directory.mkdir(mode=0o700, exist_ok=True)
        with self._lock(self.accounts / f"{name}.lock"):
            yield

    @contextmanager
    def _lock(self, path: Path) -> Iterator[None]:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _owner(self, name: str) -> str:
        """The account whose directory it is; empty where that is not known."""
        try:
            return (self.accounts / name).read_text().strip()
        except FileNotFoundError:
            return ""

    def _note(self, name: str, account: str) -> None:
        if account and self._owner(name) != account:
            new = self.accounts / f"{name}.new"
            with new.open("w") as file:
                file.write(f"{account}\n")
                file.flush()
                # after a power cut it would be whose it is not known
                os.fsync(file.fileno())
            new.replace(self.accounts / name)

    def _put_aside(self, name: str) -> None:
        directory = self.root / name
        if directory.exists():
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            aside, number = self.removed / f"{name}.{when}", 1
            while aside.exists():
                number += 1
                aside = self.removed / f"{name}.{when}.{number}"
            directory.rename(aside)
        (self.accounts / name).unlink(missing_ok=True)

    def _adopt(self, name: str) -> None:
        if not (self.root / name).exists() and self._empty_volume(name):
            self._finish(name)

    def _empty_volume(self, name: str) -> bool:
        """Whether what somebody's volume had is in `moving`, with the volume gone."""
        volume, moving = f"{self.places.volumes}{name}", self.moving / name
        there = volume in docker("volume", "ls", "--quiet").splitlines()
        if there and docker("ps", "--all", "--quiet", f"--filter=volume={volume}"):
            raise FilesError("an older server still has the files: stop it, then start again")
        if there and not moving.exists():
            data = Path(docker("volume", "inspect", "--format={{.Mountpoint}}", volume))
            try:
                data.rename(moving)
            except OSError:
                # another file system
                self._copy(data, name)
        if there:
            docker("volume", "rm", volume)
        return moving.exists()

    def _copy(self, source: Path, name: str) -> None:
        """Have in `moving` what is in `source`."""
        copying, moving = self.copying / name, self.moving / name
        if moving.exists():
            return
        shutil.rmtree(copying, ignore_errors=True)
        copying.mkdir(mode=0o700)
        command = ["cp", "--archive", "--no-target-directory", str(source), str(copying)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(copying, ignore_errors=True)
            raise FilesError(f"{source} was not copied: {done.stderr.strip()[-300:]}")
        copying.rename(moving)

    def _finish(self, name: str) -> None:
        """Give what is in `moving` to a uid, and put it in its place."""
        moving = self.moving / name
        with self._lock(self.accounts / ".uids.lock"):
            uid = self._uid(moving)
            # nobody else gets it from here on
            os.chown(moving, uid, self.places.gid)
        moving.chmod(0o700)
        # through open directories, and never where a link leads: a person made what is in there
        for _, directories, names, here in os.fwalk(moving):
            for each in directories + names:
                os.chown(each, uid, self.places.gid, dir_fd=here, follow_symlinks=False)
        moving.rename(self.root / name)

    def _uid(self, moving: Path) -> int:
        """The one that it has, or one that no files have."""
        first, last = self.places.uids
        begun = moving.stat().st_uid
        if first <= begun <= last:
            return begun
        taken = {
            entry.stat(follow_symlinks=False).st_uid
            for directory in (self.root, self.moving, self.removed)
            for entry in os.scandir(directory)
        }
        # those of files that somebody removed last
        free = [uid for uid in range(first, last + 1) if uid not in taken]
        latest = max(taken)
        newer = [uid for uid in free if uid > latest]
        if not free:
            raise FilesError(f"all of the uids from {first} to {last} have files: remove some")
        return (newer or free)[0]


def answer(files: Files, line: str) -> dict[str, object]:
    """The answer to a request."""
    try:
        request = json.loads(line)
        (verb,) = request.keys() - {"account"}
        name, account = request[verb], request["account"]
        if not NAME.fullmatch(name) or not ACCOUNT.fullmatch(account):
            raise ValueError
        if verb not in ("want", "leave"):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {"error": "the request is none"}
    try:
        if verb == "want":
            return {"uid": files.want(name, account)}
        files.leave(name, account)
        return {}
    except (FilesError, OSError) as error:
        # a warning in the journal (sd-daemon(3))
        print(f"<4>{verb} {name}: {error}", file=sys.stderr)
        return {"error": str(error)}


def main(places: str, action: str, *names: str) -> NoReturn:
    document = json.loads(Path(places).read_text())
    files = Files(Places(**{**document, "uids": tuple(document["uids"])}))
    if action == "answer":
        signal.alarm(PATIENCE)
        line = sys.stdin.buffer.readline(LINE).decode(errors="replace")
        signal.alarm(0)
        print(json.dumps(answer(files, line)), flush=True)
        sys.exit()
    failed = False
    for name in names:
        try:
            files.adopt(name)
            print(f"{name}: moved", flush=True)
        except (FilesError, OSError) as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
