"""What is found of other firewalls; no host."""

import json
from typing import Any

import pytest

from hubstead.operations.other_firewalls import DroppingChain, parse_chains, parse_others


def chain(name: str = "input", policy: str = "drop", **more: Any) -> dict[str, Any]:
    found = {"family": "inet", "table": "filter", "name": name, "hook": "input", "policy": policy}
    return {"chain": {**found, **more}}


def rule(*expr: Any, chain: str = "input", table: str = "filter") -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": table, "chain": chain, "expr": list(expr)}}


def dport(right: Any) -> dict[str, Any]:
    left = {"payload": {"protocol": "tcp", "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": right}}


ACCEPT, DROP = {"accept": None}, {"drop": None}


def found(*items: dict[str, Any]) -> tuple[DroppingChain, ...]:
    return parse_chains(json.dumps({"nftables": [{"metainfo": {}}, *items]}))


@pytest.mark.parametrize(
    ("right", "accepted"),
    [
        (443, {443}),
        ({"set": [22, 80, {"range": [440, 443]}]}, {22, 80, 440, 441, 442, 443}),
        ("@web", {80, 443}),
    ],
)
def test_ports_of_rules_that_accept(right: Any, accepted: set[int]) -> None:
    named = {"set": {"family": "inet", "table": "filter", "name": "web", "elem": [80, 443]}}
    other = rule(dport(25), ACCEPT, table="other")
    refused = rule(dport(25), DROP)
    (state,) = found(chain(), named, rule(dport(right), ACCEPT), other, refused)
    assert state == DroppingChain("inet", "filter", "input", frozenset(accepted))


def test_ports_of_a_map_of_verdicts() -> None:
    key = {"payload": {"protocol": "tcp", "field": "dport"}}
    (state,) = found(chain(), rule({"vmap": {"key": key, "data": {"set": [[443, ACCEPT]]}}}))
    assert state.accepted == {443}


def test_a_last_rule_without_a_condition_is_a_policy() -> None:
    assert found(chain(policy="accept"), rule(dport(22), ACCEPT), rule({"counter": {}}, DROP))
    assert not found(chain(policy="accept"), rule(dport(25), DROP))
    assert not found(chain(policy="accept"), rule(DROP, chain="other"))


def test_what_lets_everything_in_and_what_is_iptables_is_none_of_it() -> None:
    assert not found(chain(policy="accept"))
    assert not found(chain(hook="forward"))
    assert not found(chain(family="ip", name="INPUT"))
    assert parse_chains("") == ()


def test_what_the_host_says() -> None:
    state = parse_others(["ufw", "ufw 8088 tcp", "ufw 53 any", 'nft {"nftables": []}'])
    assert state.ufw == ("8088/tcp", "53")
    assert parse_others([]).ufw is None
    assert parse_others(["firewalld", "nft {}"]).firewalld
