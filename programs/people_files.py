#!/usr/bin/python3 -I
"""Written by Hubstead: people's files, a directory each, which belongs to a uid of its own.

    people-files PLACES answer        one request on standard input, one answer on standard output
    people-files PLACES adopt NAME…   move their volumes of earlier versions to where files are
    people-files PLACES limit         give everybody the limits that PLACES says, or take them away
    people-files PLACES unlimited     print the uids that have other limits than PLACES says
    people-files PLACES disk          print what the file system of the files is, as JSON

The Hub asks before it starts a server, when an account is gone, and for its home page. PLACES is a
JSON document, `Places` says what is in it. A request is one line, the answer another:

    {"want": NAME, "account": ID}     {"uid": UID}, once the directory is there
    {"leave": NAME, "account": ID}    {}, once it is out of the way of the next one of that name
    {"show": NAME, "account": ID}     {"bytes": [USED, LIMIT], "files": [USED, LIMIT]}; {} for who
                                      has no files or no limits
                                      {"error": WORDS} instead of any

NAME is as DockerSpawner escapes it, ID what tells an account from the next one of its name. It can
be cut anywhere: what was begun is finished at the next request for the same name.
"""

from __future__ import annotations

import ctypes
import errno
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


def is_another(account: str, owner: str) -> bool:
    """Whether files are of an account which had the name before.

    KIND.ID is one of a provider of that kind, a number one of the users table: those of two kinds
    are not compared, or the files of all would be away after another way to log in was chosen
    (hubstead_hub.sessions.is_another).
    """
    if not account or not owner or account.rpartition(".")[0] != owner.rpartition(".")[0]:
        return False
    return account != owner


class FilesError(Exception):
    """Why there are no files for somebody at the moment; the person reads it."""


@dataclass(frozen=True)
class Places:
    """Where files are.

    + files: the directory of people's directories, of root.
    + volumes: a volume of earlier versions is named this and its owner.
    + uids: the first and the last that people's files belong to; no account of the host has one.
    + gid: of all files: the group of the image's user.
    + limits: the bytes and the files that each of them may have; None where that is as many as the
      disk has room for.
    + keep: whether files of accounts that are gone stay, put aside.
    """

    files: str
    volumes: str
    uids: tuple[int, int]
    gid: int
    limits: tuple[int, int] | None = None
    keep: bool = True


def docker(*arguments: str) -> str:
    """What docker prints. Raises FilesError when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FilesError(f"docker {arguments[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


class Use(ctypes.Structure):
    """What a user has of a file system, and may have: `if_nextdqblk` of linux/quota.h."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("most_blocks", "soft_blocks", "bytes")),
        *((name, ctypes.c_uint64) for name in ("most_files", "soft_files", "files")),
        *((name, ctypes.c_uint64) for name in ("block_time", "file_time")),
        *((name, ctypes.c_uint32) for name in ("valid", "uid")),
    ]
    most_blocks: int
    bytes: int
    most_files: int
    files: int
    valid: int
    uid: int

    @property
    def limits(self) -> tuple[int, int]:
        """Bytes and files that it may have; 0 for any number."""
        return self.most_blocks * BLOCK, self.most_files


#: Of linux/quota.h and linux/dqblk_xfs.h; the kernel understands both for ext4 as for XFS
BLOCK = 1024
GET, SET, GET_NEXT = 0x800007, 0x800008, 0x800009
STATE, COUNTED, ENFORCED = 0x5805, 1, 2
LIMITS_ARE_SET = 1 | 4
#: quotactl_fd(2), of Linux 5.14, has this number everywhere: it needs to see no device
QUOTACTL_FD = 443


class Quotas:
    """How much each uid has of the file system of a directory, and may have (quotactl(2)).

    By uid and not by project or subvolume: who owns a file takes it out of its project with one
    ioctl, but gives it to nobody else.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._call = ctypes.CDLL(None, use_errno=True).syscall

    def are_on(self) -> bool:
        """Whether users' files are counted and limits hold."""
        state = ctypes.create_string_buffer(256)
        try:
            self._ask(STATE, 0, state)
        except OSError:
            # ENOSYS: none on, or a file system that has none
            return False
        # qs_flags of fs_quota_stat
        flags = int.from_bytes(state.raw[2:4], sys.byteorder)
        return flags & (COUNTED | ENFORCED) == COUNTED | ENFORCED

    def of(self, uid: int) -> Use:
        """What a uid has and may have."""
        use = Use()
        try:
            self._ask(GET, uid, use)
        except OSError as error:
            # XFS: neither files nor limits
            if error.errno != errno.ENOENT:
                raise
        return use

    def limit(self, uid: int, limits: tuple[int, int]) -> None:
        """Let a uid have so many bytes and files, 0 for any number."""
        size, files = limits
        use = Use(most_blocks=size // BLOCK, most_files=files, valid=LIMITS_ARE_SET)
        self._ask(SET, uid, use)

    def known(self, first: int, last: int) -> Iterator[Use]:
        """Those of these uids that have something, or limits."""
        while first <= last:
            use = Use()
            try:
                self._ask(GET_NEXT, first, use)
            except OSError as error:
                # no more, or no quotas
                if error.errno in (errno.ENOENT, errno.ESRCH, errno.ENOSYS):
                    return
                raise
            if use.uid <= last:
                yield use
            first = use.uid + 1

    def _ask(self, command: int, uid: int, answer: ctypes.Array[ctypes.c_char] | Use) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # QCMD of linux/quota.h; USRQUOTA is 0
            call = ctypes.c_uint(command << 8), ctypes.c_uint(uid), ctypes.byref(answer)
            if self._call(ctypes.c_long(QUOTACTL_FD), ctypes.c_uint(descriptor), *call):
                number = ctypes.get_errno()
                raise OSError(number, f"quotas of {self.directory}: {os.strerror(number)}")
        finally:
            os.close(descriptor)


class Files:
    """People's directories. Those whose names begin with a dot hold what no server has:

    + .accounts: a file each, which says whose it is.
    + .copying: what is not whole yet, and can be made again.
    + .moving: what is whole, and does not belong to its uid yet.
    + .removed: files of accounts that are gone, by name and time; nobody but root removes them.
    + .ending: the same, which are being removed, where they are not kept.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.root = Path(places.files)
        self.accounts, self.copying, self.moving, self.removed, self.ending = (
            self.root / f".{name}"
            for name in ("accounts", "copying", "moving", "removed", "ending")
        )
        self.quotas = Quotas(self.root)
        #: There while people may have limits of ours
        self.limited = self.accounts / ".limited"

    def want(self, name: str, account: str) -> int:
        """The uid of somebody's directory, which is there then."""
        with self._locked(name):
            directory, owner = self.root / name, self._owner(name)
            if is_another(account, owner):
                self._put_aside(name)
            self._adopt(name)
            if not directory.exists():
                self._copy(SKELETON, name)
                # else the second start of a server makes it, and fails where the first has filled
                # the disk (jupyter_core 5.9, JupyterApp.migrate_config)
                (self.moving / name / ".jupyter").mkdir(mode=0o700, exist_ok=True)
                (self.moving / name / ".jupyter/migrated").touch()
                self._finish(name)
            uid, (first, last) = directory.stat().st_uid, self.places.uids
            if not first <= uid <= last:
                raise FilesError(
                    f"{directory} belongs to the uid {uid}, which is none from {first} to {last}: "
                    "it may be somebody else's"
                )
            self._note(name, account)
            if self.places.limits:
                self._limit(uid, self.places.limits)
            return uid

    def leave(self, name: str, account: str) -> None:
        """Whoever has the name next finds nothing of this account."""
        with self._locked(name):
            if is_another(account, self._owner(name)):
                # somebody else by now
                return
            self._adopt(name)
            self._put_aside(name)

    def adopt(self, name: str) -> None:
        """Move a volume of an earlier version; nothing where there is none, or a directory."""
        with self._locked(name):
            self._adopt(name)

    def show(self, name: str, account: str) -> dict[str, tuple[int, int]]:
        """What somebody has, and may have; nothing where that is not known or has no limits."""
        directory = self.root / name
        if not self.places.limits or not directory.exists():
            return {}
        if is_another(account, self._owner(name)):
            # of who had the name before
            return {}
        use = self.quotas.of(directory.stat().st_uid)
        size, files = use.limits
        return {"bytes": (use.bytes, size), "files": (use.files, files)}

    def limit(self) -> None:
        """Give everybody the limits of the settings, those too whose files were put aside."""
        for uid in self.unlimited():
            self._limit(uid, self.places.limits or (0, 0))
        if not self.places.limits:
            self.limited.unlink(missing_ok=True)

    def unlimited(self) -> list[int]:
        """The uids with other limits than the settings say.

        Without any in the settings, none but those that got some by earlier ones.
        """
        ours = self.places.limits is not None or self.limited.exists()
        if not ours or not self.root.exists():
            return []
        known = self.quotas.known(*self.places.uids)
        return [use.uid for use in known if use.limits != (self.places.limits or (0, 0))]

    def _limit(self, uid: int, limits: tuple[int, int]) -> None:
        if self.quotas.of(uid).limits != limits:
            self.accounts.mkdir(mode=0o700, exist_ok=True)
            self.limited.touch()
            self.quotas.limit(uid, limits)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        if self.places.limits and not self.quotas.are_on():
            # the disk that has them may be away, and this the one beneath
            raise FilesError(
                f"each person may fill a part of {self.root} (hub_disk_quota), but its file system "
                "keeps no quotas: on the Hub's host, is the disk mounted, and with quotas?"
            )
        for directory in (self.accounts, self.copying, self.moving, self.removed, self.ending):
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
            where = self.removed if self.places.keep else self.ending
            aside, number = where / f"{name}.{when}", 1
            while aside.exists():
                number += 1
                aside = where / f"{name}.{when}.{number}"
            directory.rename(aside)
        (self.accounts / name).unlink(missing_ok=True)
        # what a cut left as well; it goes as deep as somebody made directories, as Python does not
        for ended in self.ending.iterdir():
            remove = ["rm", "--recursive", "--force", "--one-file-system", "--", str(ended)]
            subprocess.run(remove, check=False)

    def _adopt(self, name: str) -> None:
        if not (self.root / name).exists() and self._empty_volume(name):
            self._finish(name)

    def _empty_volume(self, name: str) -> bool:
        """Whether what somebody's volume had is in `moving`, with the volume gone."""
        volume, moving = f"{self.places.volumes}{name}", self.moving / name
        if not shutil.which("docker"):
            return moving.exists()
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
            if self.places.limits:
                # what is theirs already comes along, and who had the uid before has left limits
                self._limit(uid, (0, 0))
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
            for directory in (self.root, self.moving, self.removed, self.ending)
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
        if verb not in ("want", "leave", "show"):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {"error": "the request is none"}
    try:
        if verb == "want":
            return {"uid": files.want(name, account)}
        if verb == "show":
            return dict(files.show(name, account))
        files.leave(name, account)
        return {}
    except (FilesError, OSError) as error:
        # a warning in the journal (sd-daemon(3))
        print(f"<4>{verb} {name}: {error}", file=sys.stderr)
        return {"error": str(error)}


def disk(path: Path) -> dict[str, object]:
    """What the file system is that a directory is on, or will be: by its nearest parent."""
    there = next(parent for parent in (path, *path.parents) if parent.is_dir())
    command = ["findmnt", "--json", "--output=TARGET,SOURCE,FSTYPE", f"--target={there}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # the last of several at one place
    *_, mounted = json.loads(done.stdout)["filesystems"]
    return {**mounted, "quotas": Quotas(there).are_on()}


def main(places: str, action: str, *names: str) -> NoReturn:
    document = json.loads(Path(places).read_text())
    for pair in ("uids", "limits"):
        if document.get(pair):
            document[pair] = tuple(document[pair])
    files = Files(Places(**document))
    match action:
        case "answer":
            signal.alarm(PATIENCE)
            line = sys.stdin.buffer.readline(LINE).decode(errors="replace")
            signal.alarm(0)
            print(json.dumps(answer(files, line)), flush=True)
        case "limit":
            files.limit()
        case "unlimited":
            for uid in files.unlimited():
                print(uid)
        case "disk":
            print(json.dumps(disk(files.root)))
        case "adopt":
            sys.exit(adopt(files, names))
        case _:
            sys.exit(__doc__)
    sys.exit()


def adopt(files: Files, names: tuple[str, ...]) -> bool:
    """Whether the volume of any of these people could not be moved."""
    failed = False
    for name in names:
        try:
            files.adopt(name)
            print(f"{name}: moved", flush=True)
        except (FilesError, OSError) as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    return failed


if __name__ == "__main__":
    main(*sys.argv[1:])
