"""Diagnosis: of all that does not hold, what is the cause, and what only follows from it.

Pure: hubstead.doctor does the looking.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """A part of the service that can be in order or not.

    + title: what a person calls it; `well` is what it does then.
    + page: of docs/, which has more.
    + rests_on: subjects without which it cannot be in order, on the same host or where they are.
    """

    title: str
    well: str
    page: str
    rests_on: tuple[str, ...] = ()


_ROOM = ("disk", "memory")
#: Each after all that it rests on
SUBJECTS = {
    "host": Subject("The host", "answers", "own.md"),
    "deployed": Subject("The service", "was deployed here", "hosts.md"),
    "clock": Subject("The clock", "says what this machine's does", "hosts.md"),
    "disk": Subject("The disks", "have room", "servers.md"),
    "memory": Subject("The memory", "has room", "servers.md"),
    "names": Subject("The service's names", "lead to the host that people come to", "apart.md"),
    "addresses": Subject("Names on the host", "have addresses there", "hosts.md"),
    "firewall": Subject("The firewall", "is in force", "firewall.md"),
    "database": Subject("PostgreSQL", "answers", "hosts.md", _ROOM),
    "accounts": Subject(
        "What knows people's accounts", "answers", "accounts.md",
        ("clock", "addresses", "database"),
    ),
    "docker": Subject("Docker", "answers", "beside.md", _ROOM),
    "network": Subject("The users' network", "is there", "servers.md", ("docker",)),
    "image": Subject("The users' image", "is there", "image.md", ("docker", "disk")),
    "filter": Subject("The filter before Docker", "answers", "servers.md", ("docker",)),
    "environment": Subject("People's environment", "is there", "servers.md", ("disk",)),
    "servers": Subject("What starts people's servers", "answers", "servers.md", _ROOM),
    "files": Subject("What makes people's files ready", "answers", "servers.md", _ROOM),
    "proxy": Subject("The proxy", "answers", "edges.md", _ROOM),
    "configuration": Subject("The Hub's conf.d", "can be read", "own.md"),
    "hub": Subject(
        "The Hub", "answers", "hosts.md",
        (*_ROOM, "addresses", "database", "network", "proxy", "configuration"),
    ),
    "login": Subject("The login", "answers", "login.md", (*_ROOM, "addresses", "database")),
    "lab": Subject("JupyterLab", "answers", "login.md", _ROOM),
    "edge": Subject("The edge", "answers", "edges.md", (*_ROOM, "addresses")),
    "certificate": Subject(
        "The certificates", "are good", "tls.md", ("clock", "database", "proxy", "edge")
    ),
    "page": Subject(
        "The login page", "is there", "edges.md",
        ("hub", "login", "lab", "proxy", "edge", "certificate"),
    ),
    "outside": Subject(
        "The way from this machine", "leads to the login page", "edges.md",
        ("clock", "names", "firewall", "certificate", "page"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What was found of one subject on one host.

    + holds: None where it was not asked.
    + said: of a subject that holds, what there is to say beside that; else what is wrong.
    + mend: what to do about it.
    """

    host: str
    subject: str
    holds: bool | None
    said: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """A finding, and those that it follows from; none where it is a cause itself, or holds."""

    finding: Finding
    causes: tuple[Finding, ...] = ()

    @property
    def state(self) -> str:
        """In one word."""
        if self.finding.holds is not False:
            return "holds" if self.finding.holds else "unasked"
        return "follows" if self.causes else "fails"


_ORDER = ("fails", "follows", "unasked", "holds")


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """One of each subject and host: what is wrong with it, if anything is."""
    found: dict[tuple[str, str], Finding] = {}
    for each in findings:
        known = found.setdefault((each.host, each.subject), each)
        if known.holds is not False and (each.holds is False or (each.said and not known.said)):
            found[each.host, each.subject] = each
    return list(found.values())


def diagnoses(findings: Iterable[Finding], homes: Mapping[str, str]) -> list[Diagnosis]:
    """What is wrong and why, causes first, then what follows from them, then what holds.

    + homes: subject to the host that has it for the others.
    """
    known = {(each.host, each.subject): each for each in merged(findings)}

    def causes(of: Finding) -> dict[Finding, None]:
        found: dict[Finding, None] = {}
        for need in SUBJECTS[of.subject].rests_on:
            for host in dict.fromkeys((of.host, homes.get(need, of.host))):
                # of a host that does not answer nothing else is known
                for subject in ("host", "deployed", need):
                    other = known.get((host, subject))
                    if other and other != of and other.holds is False:
                        found |= causes(other) or {other: None}
        return found

    order = list(SUBJECTS)
    made = [
        Diagnosis(each, tuple(causes(each)) if each.holds is False else ())
        for each in sorted(known.values(), key=lambda each: order.index(each.subject))
    ]
    return sorted(made, key=lambda each: _ORDER.index(each.state))


def status(made: Iterable[Diagnosis]) -> int:
    """0 where all holds, 1 where something does not, 2 where a host could not be asked at all."""
    wrong = [each.finding.subject for each in made if each.finding.holds is False]
    return 2 if "host" in wrong else int(bool(wrong))


def text(made: Sequence[Diagnosis]) -> str:
    """For people: a line each, and what to begin with."""
    several = len({each.finding.host for each in made}) > 1

    def title(finding: Finding) -> str:
        where = f" on {finding.host}" if several else ""
        return f"{SUBJECTS[finding.subject].title}{where}"

    lines = []
    for each in made:
        finding, subject = each.finding, SUBJECTS[each.finding.subject]
        line = f"{each.state:<8}{title(finding)}"
        match each.state:
            case "fails":
                line += f": {finding.said}. Do: {finding.mend} (docs/{subject.page})"
            case "follows":
                line += f": {finding.said}; of: {', '.join(map(title, each.causes))}"
            case "unasked":
                line += f": not asked; {finding.said}"
            case _:
                line += f" {subject.well}{f': {finding.said}' if finding.said else ''}"
        lines.append(line)
    first = [title(each.finding) for each in made if each.state == "fails"]
    lines.append(f"\nTo be mended: {', '.join(first)}" if first else "\nAll holds.")
    return "\n".join(lines)


def document(made: Sequence[Diagnosis]) -> str:
    """The same in JSON (docs/doctor.md)."""
    return json.dumps(
        {
            "status": status(made),
            "parts": [
                {
                    "host": each.finding.host,
                    "part": each.finding.subject,
                    "title": SUBJECTS[each.finding.subject].title,
                    "state": each.state,
                    "said": each.finding.said,
                    "mend": each.finding.mend if each.state == "fails" else "",
                    "docs": f"docs/{SUBJECTS[each.finding.subject].page}",
                    "because": [
                        {"host": cause.host, "part": cause.subject} for cause in each.causes
                    ],
                }
                for each in made
            ],
        },
        indent=2,
    )
