#!/usr/bin/python3 -I
"""Run by Hubstead on the Hub's host, for a person who leaves for good.

    offboard PLAN look   prints what there is of the person, as JSON; changes nothing
    offboard PLAN go     archives the files, and then removes them and the account

PLAN is a JSON document, `Plan` says what is in it. It can be cut anywhere: nothing is removed
before an archive of it is whole, and the next run goes on with what is still there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HUB_USERS = "/usr/local/bin/hub-users"
#: Seconds that a server has to end in
PATIENCE = 30


class OffboardError(Exception):
    """Why it does not go on; the owner reads it."""


@dataclass(frozen=True)
class Plan:
    """Who leaves, and where things are.

    + name: of the account.
    + escaped: the same in names of files and servers.
    + files: the directory of people's directories (programs/people_files.py).
    + groups: the directory of folders that groups share.
    + archives: where archives are, of root.
    + containers: what names of the person's servers in Docker begin with.
    + volume: of an earlier version.
    + rules, marks: files of the Hub's: who may log in, and whom it knows (hubstead_hub).
    + left: file that tells the Hub who left, and when; `group` may read it.
    """

    name: str
    escaped: str
    files: str
    groups: str
    archives: str
    containers: str
    volume: str
    rules: str
    marks: str
    left: str
    group: str


def run(*command: str) -> str:
    """What a command prints. Raises OffboardError with what it says where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OffboardError(f"{Path(command[0]).name} {command[1]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def find(directory: Path, *what: str) -> str:
    """What find(1) prints, which goes as deep as somebody made directories; Python does not."""
    return run("find", str(directory), "-ignore_readdir_race", *what)


def read(path: str) -> dict[str, Any]:
    """A JSON object of a file; an empty one where there is no such file."""
    try:
        document = json.loads(Path(path).read_text())
    except FileNotFoundError:
        return {}
    return document if isinstance(document, dict) else {}


def _private(path: Path) -> int:
    """A new file, which is root's alone before it has content."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


class Leaving:
    """What is a person's on this host."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.root = Path(plan.files)
        self.directory = self.root / plan.escaped
        #: What is archived, and being removed
        self.removing = self.root / ".offboarded" / plan.escaped

    def account(self) -> dict[str, Any] | None:
        """The row of the users table, as hub-users lists it."""
        if not Path(HUB_USERS).exists():
            return None
        rows = json.loads(run(HUB_USERS, "list", "--json"))
        return next((row for row in rows if row["username"] == self.plan.name), None)

    def is_known(self) -> bool:
        """Whether the Hub knows somebody by that name, of whom it was not told that they left."""
        name = self.plan.name
        return name in read(self.plan.marks) and name not in read(self.plan.left)

    def servers(self) -> list[str]:
        """Containers of the person's, where servers are in Docker."""
        if shutil.which("docker") is None:
            return []
        listed = run("docker", "ps", "--all", "--format={{.Names}}").split()
        return [name for name in listed if name.startswith(self.plan.containers)]

    def unit(self) -> str | None:
        """The unit of the person's server, where that is one of systemd and runs."""
        uid = self._uid()
        if not uid or shutil.which("systemctl") is None:
            return None
        unit = f"hubstead-server@{uid}.service"
        state = subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False)
        return unit if state.returncode == 0 else None

    def look(self) -> dict[str, Any]:
        rules = read(self.plan.rules)
        size, files = self._size(self.directory)
        return {
            "account": self.account() is not None,
            "known": self.is_known(),
            "servers": len(self.servers()) + (self.unit() is not None),
            "directory": self.directory.is_dir(),
            "size": size,
            "files": files,
            "begun": self.removing.exists(),
            "still": [
                f"hub_{key}"
                for key, where in (("allowed_users", "allowed"), ("admins", "admins"))
                # of several ways to log in each entry begins with one
                if self.plan.name in [entry.rpartition(":")[2] for entry in rules.get(where, ())]
            ],
            "volume": self._has_volume(),
        }

    def _has_volume(self) -> bool:
        if shutil.which("docker") is None:
            return False
        return self.plan.volume in run("docker", "volume", "ls", "--quiet").split()

    @staticmethod
    def _size(directory: Path) -> tuple[int, int]:
        """Bytes and number of what is there."""
        if not directory.is_dir():
            return 0, 0
        sizes = find(directory, "-mindepth", "1", "-printf", r"%s\n").split()
        return sum(map(int, sizes)), len(sizes)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody is given the files meanwhile (programs/people_files.py)."""
        accounts = self.root / ".accounts"
        if not accounts.is_dir():
            yield
            return
        with (accounts / f"{self.plan.escaped}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def go(self) -> None:
        account = self.account()
        if account and account["enabled"]:
            # from here on nobody starts a server; refused for the last admin
            print(run(HUB_USERS, "disable", self.plan.name), end="", flush=True)
        with self._locked():
            for server in self.servers():
                run("docker", "stop", f"--time={PATIENCE}", server)
                # which one that removes itself is gone by now
                with suppress(OffboardError):
                    run("docker", "rm", "--force", server)
            if unit := self.unit():
                run("systemctl", "stop", unit)
            uid = self._uid()
            if self.directory.is_dir():
                print(f"Archived as {self._archive()}.", flush=True)
                self.removing.parent.mkdir(mode=0o700, exist_ok=True)
                if self.removing.exists():
                    # of a run that was cut, and of an archive before this one
                    self._remove()
                self.directory.rename(self.removing)
            if self.removing.exists():
                self._leave_folders(uid)
                self._remove()
            (self.root / ".accounts" / self.plan.escaped).unlink(missing_ok=True)
        if account:
            print(run(HUB_USERS, "remove", self.plan.name, "--yes"), end="", flush=True)
        self._tell()

    def _uid(self) -> int | None:
        for directory in (self.directory, self.removing):
            with suppress(FileNotFoundError):
                return directory.stat().st_uid
        return None

    def _archive(self) -> Path:
        """Archive the files: whole, on the disk and compared with them, or not there at all."""
        plan, archives = self.plan, Path(self.plan.archives)
        archives.mkdir(mode=0o700, parents=True, exist_ok=True)
        archives.chmod(0o700)
        new = archives / f".{plan.escaped}.new"
        new.unlink(missing_ok=True)
        tar = ["tar", "--gzip", f"--directory={plan.files}", "--numeric-owner"]
        # links as links, and nothing of another disk that is mounted there
        create = [*tar, "--create", "--sparse", "--one-file-system", f"./{plan.escaped}"]
        try:
            with os.fdopen(_private(new), "wb") as file:
                self._tar(create, file.fileno())
                os.fsync(file.fileno())
            self._tar([*tar, "--compare", f"--file={new}"], subprocess.PIPE)
            whole = self._free_name(archives)
            new.rename(whole)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        directory = os.open(archives, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return whole

    def _tar(self, command: list[str], output: int) -> None:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            # what differs is no error to tar, and on its output
            said = f"{done.stdout or ''}{done.stderr}".strip()
            lines = said.splitlines() or ["tar said nothing"]
            raise OffboardError(
                f"the files of {self.plan.name} were not archived in {self.plan.archives}, and"
                f" nothing was removed: {lines[0][-300:]}. The account is disabled by now. Mend"
                " that (is the disk full? `offboard_archives` can be on another), and run again"
            )

    def _free_name(self, archives: Path) -> Path:
        when = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
        name, number = f"{self.plan.name}-{when}", 1
        while (archives / f"{name}.tar.gz").exists():
            number += 1
            name = f"{self.plan.name}-{when}-{number}"
        return archives / f"{name}.tar.gz"

    def _leave_folders(self, uid: int | None) -> None:
        """What the person made in folders of groups becomes root's: the uid is somebody's again."""
        if not uid or not Path(self.plan.groups).is_dir():
            return
        # never where a link leads; what was set-uid no longer is (chown(2))
        chown = ("chown", "--no-dereference", "--", "root", "{}", "+")
        find(Path(self.plan.groups), "-uid", str(uid), "-execdir", *chown)

    def _remove(self) -> None:
        """What is archived: without a way back, and never where a link leads."""
        run("rm", "--recursive", "--force", "--one-file-system", "--", str(self.removing))

    def _tell(self) -> None:
        """The Hub forgets whom it knew by that name until now (hubstead_hub.sessions)."""
        if self.plan.name not in read(self.plan.marks):
            return
        told = read(self.plan.left) | {self.plan.name: int(time.time())}
        new = Path(f"{self.plan.left}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(_private(new), "w") as file:
            json.dump(told, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        shutil.chown(new, "root", self.plan.group)
        new.chmod(0o640)
        new.replace(self.plan.left)


def main(document: str, action: str) -> None:
    leaving = Leaving(Plan(**json.loads(document)))
    try:
        if action == "look":
            print(json.dumps(leaving.look()))
        else:
            leaving.go()
    except (OffboardError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
