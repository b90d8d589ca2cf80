#!/usr/bin/python3 -I
"""Look at a host without leaving a trace: what is asked stands on standard input, as JSON.

{"NAME": {"units": ["jupyterhub.service"], "script": "curl …"}} is answered by {"NAME": ANSWER}: a
dictionary with "holds", and what was "said". A script of sh(1) runs only where all units do, which
is "unit" where one does not. All run at once: none waits for another, and none for ever.

Rule: org.freedesktop.systemd1(5), LoadState, ActiveState, Result.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

#: Seconds for a script, characters of what it says, and as many scripts at once
PATIENCE, MOST, AT_ONCE = 20, 300, 6
RUNS = ("active", "reloading")
Answer = dict[str, Any]


def states(units: list[str]) -> dict[str, str]:
    """What each unit is, in one word of systemd's."""
    if not units:
        return {}
    command = ["systemctl", "show", "--property=Id,Names,LoadState,ActiveState,Result", *units]
    shown = subprocess.run(command, capture_output=True, text=True).stdout
    found = {}
    for block in shown.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for name in [values.get("Id", ""), *values.get("Names", "").split()]:
            found[name] = state(values)
    return {unit: found.get(unit, "unknown") for unit in units}


def state(values: dict[str, str]) -> str:
    """In one word, or with why it failed."""
    if values.get("LoadState") != "loaded":
        return values.get("LoadState", "unknown")
    active, result = values.get("ActiveState", "unknown"), values.get("Result", "success")
    return active if active in RUNS or result == "success" else f"{active} ({result})"


def answer(script: str) -> Answer:
    """Whether a script succeeds, and the last line of what it says."""
    process = subprocess.Popen(
        ["sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"holds": False, "said": f"no answer within {PATIENCE} seconds"}
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    return {"holds": process.returncode == 0, "said": lines[-1][:MOST] if lines else ""}


def examine(asked: dict[str, dict[str, Any]]) -> dict[str, Answer]:
    """The answer to each."""
    known = states(list({unit for each in asked.values() for unit in each["units"]}))

    def one(each: dict[str, Any]) -> Answer:
        for unit in each["units"]:
            if known[unit] not in RUNS:
                return {"holds": False, "said": known[unit], "unit": unit}
        return answer(each["script"])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(asked, pool.map(one, asked.values()), strict=True))


if __name__ == "__main__":
    print(json.dumps(examine(json.load(sys.stdin))))
