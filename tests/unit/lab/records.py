"""Lab hosts that are not there."""

from typing import Any

from lab.state import Record


def record(name: str = "hub.example.org", number: int = 10, **fields: Any) -> Record:
    defaults = {
        "os": "trixie",
        "memory": None,
        "addresses": (),
        "inventory": "/project/inventories/lab.py",
        "project": "/project",
    }
    return Record(name=name, number=number, **{**defaults, **fields})
