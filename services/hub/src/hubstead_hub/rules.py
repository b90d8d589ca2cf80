"""Who may log in by the settings, and what they get: what a run changes while the Hub goes on."""

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
class Group:
    """People of the settings, and of a provider's groups.

    + members, teachers: names of the Hub's; who teaches is a member, too.
    + members_from, teachers_from: groups of the provider's.
    + memory, cpus, idle_timeout: bytes, cores and seconds of their servers; None for what
      everybody has. An idle time of 0 is never.
    + folder, place: what they share, on the host and in servers; None for nothing.
    """

    members: frozenset[str] = frozenset()
    teachers: frozenset[str] = frozenset()
    members_from: frozenset[str] = frozenset()
    teachers_from: frozenset[str] = frozenset()
    memory: int | None = None
    cpus: float | None = None
    idle_timeout: int | None = None
    folder: str | None = None
    place: str = ""

    def has_teacher(self, name: str, groups: Collection[str]) -> bool:
        """Whether somebody teaches, who is in these of the provider's groups."""
        return name in self.teachers or not self.teachers_from.isdisjoint(groups)

    def has(self, name: str, groups: Collection[str]) -> bool:
        return (
            name in self.members
            or not self.members_from.isdisjoint(groups)
            or self.has_teacher(name, groups)
        )


@dataclass(frozen=True)
class Profile:
    """What people may start.

    + image: of the owner's; None for the one that the host built.
    + memory, cpus: bytes and cores; None for what the person has anyway.
    + groups: of `Rules.declared`, whose people may choose it; everybody where there is none.
    """

    name: str
    description: str = ""
    image: str | None = None
    memory: int | None = None
    cpus: float | None = None
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rules:
    """What the settings say of people and of groups.

    With several ways to log in, what is said of people and groups of one begins with its name and a
    colon (hubstead_hub.may_stay.Ruled.called); who is blocked is so in each.

    + everyone: whoever can log in may.
    + everyone_of: of several ways to log in, those by which whoever can log in may.
    + allowed, blocked, admins: names of the Hub's; who is blocked may not, whatever else holds.
    + allowed_groups, admin_groups: groups of the provider's.
    + names: what the provider calls somebody, lower-case, to the Hub's name.
    + declared: groups of the settings, by name.
    + profiles: what people may start, the default first.
    + idle_timeout: seconds after which an idle server of nobody's group is stopped; 0 for never,
      None where the rules do not say.
    """

    everyone: bool = False
    everyone_of: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    allowed_groups: frozenset[str] = frozenset()
    admin_groups: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    declared: Mapping[str, Group] = field(default_factory=lambda: MappingProxyType({}))
    profiles: tuple[Profile, ...] = ()
    idle_timeout: int | None = None

    @property
    def groups(self) -> frozenset[str]:
        """Those of a provider's groups that count here."""
        sources = (each.members_from | each.teachers_from for each in self.declared.values())
        return self.allowed_groups.union(self.admin_groups, *sources)

    def blocks(self, name: str) -> bool:
        return name in self.blocked

    def admits(self, name: str, groups: Collection[str] = (), way: str = "") -> bool:
        """Whether the lists let somebody in, of a way to log in, who is not blocked."""
        return (
            self.everyone
            or way in self.everyone_of
            or name in self.allowed | self.admins
            or not (self.allowed_groups | self.admin_groups).isdisjoint(groups)
        )

    def is_admin(self, name: str, groups: Collection[str] = ()) -> bool:
        return name in self.admins or not self.admin_groups.isdisjoint(groups)


def _of(document: Any) -> Rules:
    """Raises KeyError, TypeError or ValueError for a document that is none."""
    lists = ("allowed", "blocked", "admins", "allowed_groups", "admin_groups")
    return Rules(
        everyone=document["everyone"] is True,
        everyone_of=frozenset(document.get("everyone_of", ())),
        names=dict(document["names"]),
        # not there in a file of an earlier version
        declared={name: Group(**_sets(each)) for name, each in document.get("groups", {}).items()},
        profiles=tuple(Profile(**_sets(each)) for each in document.get("profiles", ())),
        idle_timeout=document.get("idle_timeout"),
        **{name: frozenset(document[name]) for name in lists},
    )


def _sets(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: frozenset(value) if isinstance(value, list) else value
        for key, value in document.items()
    }


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
