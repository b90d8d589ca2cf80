"""Ask PAM about people of the host: `python -m hubstead_hub.pam_helper`, as root, for one request.

The Hub is not root, and PAM shows nobody else's password to whoever is not (pam_unix(8)). A socket
that the Hub alone may open passes one line to this, and gets another back:

    {"login": NAME, "password": WORD}   {"uid": UID, "groups": [NAME, ...]}; null for a wrong one
    {"look": NAME}                      the same, without a password
                                        {"error": WORDS} where PAM cannot be asked

Accounts of the system are nobody: those below UID_MIN of login.defs(5), and `nobody`.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any

import pamela

SERVICE = "hubstead"
NOBODY = 65534
#: What no account is called (useradd(8))
NOBODYS_NAME = "-"
#: Bytes of a request
LINE = 4096


class Refusal(IntEnum):
    """What of PAM's answers says that the account or the password will not do (_pam_types.h).

    Others say that PAM cannot tell.
    """

    PERM_DENIED = 6
    AUTH_ERR = 7
    USER_UNKNOWN = 10
    MAXTRIES = 11
    NEW_AUTHTOK_REQD = 12
    ACCT_EXPIRED = 13
    CRED_EXPIRED = 16
    AUTHTOK_EXPIRED = 27


def first_uid(text: str) -> int:
    """UID_MIN of login.defs(5)."""
    found = re.search(r"^\s*UID_MIN\s+(\d+)", text, re.M)
    return int(found[1]) if found else 1000


def is_locked(name: str, shadow: str) -> bool:
    """Whether usermod(8) --lock was there, which PAM does not look for (shadow(5))."""
    rows = (line.split(":") for line in shadow.splitlines())
    return any(row[0] == name and row[1].startswith("!") for row in rows)


def person(name: str) -> dict[str, Any] | None:
    """Somebody of the host, whose account is neither the system's nor locked."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    least = first_uid(Path("/etc/login.defs").read_text())
    if entry.pw_name != name or entry.pw_uid < least or entry.pw_uid == NOBODY:
        return None
    if is_locked(name, Path("/etc/shadow").read_text()):
        return None
    groups = []
    for gid in os.getgrouplist(name, entry.pw_gid):
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return {"uid": entry.pw_uid, "groups": sorted(groups)}


def answer(request: dict[str, str]) -> dict[str, Any] | None:
    """What the Hub gets for a request. Raises pamela.PAMError where PAM cannot tell."""
    name = request.get("login") or request["look"]
    found = person(name)
    try:
        if "login" in request:
            # also for who is nobody, so that it takes as long: not by the name that was given, or
            # a right password of root's would be told by an answer that comes sooner
            known = NOBODYS_NAME if found is None else name
            pamela.authenticate(known, request["password"], service=SERVICE, resetcred=0)
        if found is not None:
            pamela.check_account(name, service=SERVICE)
    except pamela.PAMError as error:
        if error.errno in set(Refusal):
            return None
        raise
    return found


def main() -> None:
    try:
        said: Any = answer(json.loads(sys.stdin.buffer.readline(LINE)))
    except (pamela.PAMError, OSError) as error:
        said = {"error": str(error)}
    except (KeyError, TypeError, ValueError):
        said = {"error": "the request is none"}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
