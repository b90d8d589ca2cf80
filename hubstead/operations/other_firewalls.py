"""What else on a host decides about packets: firewalld, ufw, and chains of nftables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand


@dataclass(frozen=True)
class DroppingChain:
    """A chain of nftables that drops what comes to the host, unless a rule accepts it.

    + accepted: the ports in rules of its table that accept something.
    """

    family: str
    table: str
    name: str
    accepted: frozenset[int]


@dataclass(frozen=True)
class OtherFirewalls:
    """Those at work on the host.

    + ufw: what it lets in, as it says it; None while it is off.
    """

    firewalld: bool = False
    ufw: tuple[str, ...] | None = None
    chains: tuple[DroppingChain, ...] = ()


def parse_chains(text: str) -> tuple[DroppingChain, ...]:
    """The dropping chains in what `nft -j list ruleset` prints (libnftables-json(5)).

    Not those that iptables keeps there: Hubstead's rules come first in them.
    """
    items: list[dict[str, Any]] = json.loads(text)["nftables"] if text.strip() else []
    rules = [item["rule"] for item in items if "rule" in item]
    sets = [item["set"] for item in items if "set" in item]

    def of(chain: dict[str, Any], found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in found if (one["family"], one["table"]) == _table(chain)]

    def drops(chain: dict[str, Any]) -> bool:
        last = [rule for rule in of(chain, rules) if rule["chain"] == chain["name"]][-1:]
        words = {word for rule in last for part in rule["expr"] for word in part}
        refuses = bool(words & {"drop", "reject"}) and words <= {"drop", "reject", "counter", "log"}
        return chain.get("policy") == "drop" or refuses

    return tuple(
        DroppingChain(
            *_table(chain), chain["name"], _accepted(of(chain, rules), of(chain, sets))
        )
        for chain in (item["chain"] for item in items if "chain" in item)
        if chain.get("hook") == "input" and chain["name"] != "INPUT" and drops(chain)
    )  # fmt: skip


def _table(chain: dict[str, Any]) -> tuple[str, str]:
    return chain["family"], chain["table"]


def _accepted(rules: list[dict[str, Any]], sets: list[dict[str, Any]]) -> frozenset[int]:
    named = {f"@{one['name']}": one.get("elem", []) for one in sets}
    accepting = [rule["expr"] for rule in rules if "accept" in _words(rule["expr"])]
    return frozenset(
        port for expr in accepting if "dport" in _words(expr) for port in _ports(expr, named)
    )


def _words(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from _words(each)
        case dict():
            for key, each in value.items():
                yield key
                yield from _words(each)


def _ports(value: Any, named: dict[str, Any]) -> Iterator[int]:
    match value:
        case int():
            yield value
        case str() if value in named:
            yield from _ports(named[value], {})
        case {"range": [int(first), int(last)]}:
            yield from range(first, last + 1)
        case list():
            for each in value:
                yield from _ports(each, named)
        case dict():
            for each in value.values():
                yield from _ports(each, named)


_FACT = """
PATH=$PATH:/usr/sbin:/sbin
if systemctl --quiet is-active firewalld 2>/dev/null; then echo firewalld; fi
if grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf; then
    echo ufw
    cat /etc/ufw/user.rules /etc/ufw/user6.rules 2>/dev/null |
        sed -n 's/^### tuple ### allow \\([a-z]*\\) \\([0-9:,]*\\) .*/ufw \\2 \\1/p' | sort -u
fi
if command -v nft >/dev/null; then nft -j list ruleset | sed 's/^/nft /'; fi
"""


def parse_others(lines: Iterable[str]) -> OtherFirewalls:
    """The state from the lines that the command of `Others` prints."""
    firewalld, ufw, ruleset = False, None, ""
    for line in lines:
        kind, _, text = line.partition(" ")
        if kind == "firewalld":
            firewalld = True
        elif kind == "ufw":
            port = text.removesuffix(" any").replace(" ", "/")
            ufw = (*(ufw or ()), *([port] if port else []))
        else:
            ruleset += text
    return OtherFirewalls(firewalld, ufw, () if firewalld else parse_chains(ruleset))


class Others(FactBase[OtherFirewalls]):
    """Firewalls on the host that are not Hubstead's: what drops before or behind its rules."""

    @staticmethod
    def default() -> OtherFirewalls:
        return OtherFirewalls()

    def command(self) -> StringCommand:
        return StringCommand("sh", "-c", QuoteString(_FACT))

    def process(self, output: list[str]) -> OtherFirewalls:
        try:
            return parse_others(output)
        except (ValueError, KeyError, TypeError) as error:
            raise FactProcessError(f"unreadable rules of nftables: {error}") from error
