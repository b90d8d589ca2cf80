"""The rules of who may log in, which are read again while the Hub runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hubstead_hub.rules import Rules, RulesFile

LISTS = {name: [] for name in ("allowed", "blocked", "admins", "allowed_groups", "admin_groups")}


def write(path: Path, **rules: object) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"everyone": False, "names": {}} | LISTS | rules))
    new.replace(path)


def test_each_rule_lets_in_whom_it_names() -> None:
    rules = Rules(
        allowed=frozenset({"ada"}),
        admins=frozenset({"grace"}),
        allowed_groups=frozenset({"lab"}),
        admin_groups=frozenset({"staff"}),
    )
    assert [rules.admits(name) for name in ("ada", "grace", "bob")] == [True, True, False]
    assert rules.admits("bob", ["x", "lab"]) and not rules.is_admin("bob", ["lab"])
    assert rules.admits("bob", {"staff"}) and rules.is_admin("bob", {"staff"})
    assert rules.is_admin("grace") and not rules.is_admin("ada")
    assert Rules(everyone=True).admits("bob") and not Rules().admits("bob")


def test_a_file_is_read_again_and_kept_where_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    file = RulesFile(path)
    assert not file.now.admits("ada")
    write(path, allowed=["ada"])
    assert file.now.admits("ada")
    write(path, allowed=["grace"], names={"g@example.org": "grace"})
    assert not file.now.admits("ada") and file.now.names == {"g@example.org": "grace"}
    for text in ("{", "{}", "[]", '{"everyone": true}'):
        path.write_text(text)
        assert file.now.admits("grace") and not file.now.everyone
    path.unlink()
    assert file.now.admits("grace")


@pytest.mark.parametrize("everyone", ["no", 1, "true"])
def test_everyone_is_nothing_but_true(tmp_path: Path, everyone: object) -> None:
    path = tmp_path / "rules.json"
    write(path, everyone=everyone)
    assert not RulesFile(path).now.everyone
