"""Who may log in by the settings: lists that a run changes while the Hub goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

log = logging.getLogger("jupyterhub")


@dataclass(frozen=True)
class Rules:
    """What the settings say of people and of groups.

    + everyone: whoever can log in may.
    + allowed, blocked, admins: names of the Hub's; who is blocked may not, whatever else holds.
    + allowed_groups, admin_groups: groups of the provider's.
    + names: what the provider calls somebody, lower-case, to the Hub's name.
    """

    everyone: bool = False
    allowed: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    allowed_groups: frozenset[str] = frozenset()
    admin_groups: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def groups(self) -> frozenset[str]:
        """Those of a provider's groups that count here."""
        return self.allowed_groups | self.admin_groups

    def blocks(self, name: str) -> bool:
        return name in self.blocked

    def admits(self, name: str, groups: Collection[str] = ()) -> bool:
        """Whether the lists let somebody in who is not blocked."""
        return (
            self.everyone
            or name in self.allowed | self.admins
            or not self.groups.isdisjoint(groups)
        )

    def is_admin(self, name: str, groups: Collection[str] = ()) -> bool:
        return name in self.admins or not self.admin_groups.isdisjoint(groups)


def _of(document: Any) -> Rules:
    """Raises KeyError, TypeError or ValueError for a document that is none."""
    lists = ("allowed", "blocked", "admins", "allowed_groups", "admin_groups")
    return Rules(
        everyone=document["everyone"] is True,
        names=dict(document["names"]),
        **{name: frozenset(document[name]) for name in lists},
    )


class RulesFile:
    """A file of rules, which is read again whenever it is another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int] | None = None
        self._rules = Rules()

    @property
    def now(self) -> Rules:
        """What it says; what it said before where it cannot be read. Nobody may without any."""
        try:
            status = self._path.stat()
            if (status.st_ino, status.st_mtime_ns) != self._read:
                self._rules = _of(json.loads(self._path.read_text()))
                self._read = status.st_ino, status.st_mtime_ns
        except (OSError, KeyError, TypeError, ValueError) as error:
            log.error("Keeping the rules of before: %s: %r", self._path, error)
        return self._rules
