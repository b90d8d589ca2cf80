"""The settings reference says what the models say."""

from pathlib import Path

import pytest
from pyinfra.api import State
from pyinfra.context import ctx_state
from pyinfra_cli.inventory import make_inventory

from hubstead import reference
from hubstead.settings.model import known_keys, models


def test_the_page_is_what_the_models_say() -> None:
    assert reference.PAGE.read_text() == reference.render(), "run `make docs`"


@pytest.mark.parametrize("key", sorted(known_keys()))
def test_every_key_is_described(key: str) -> None:
    field = known_keys()[key].model_fields[key]
    assert field.description and field.description.endswith(".")
    assert f"| `{key}` |" in reference.render()


def test_the_page_on_hosts_names_what_has_one_value_for_all() -> None:
    page = (reference.PAGE.parent / "hosts.md").read_text()
    sentence = page.partition("has one value in an inventory:")[2].partition(". ")[0]
    for model in models():
        for key in model.everywhere:
            assert f"`{key}`" in sentence or f"`{key}…`" in sentence


def test_every_role_is_introduced() -> None:
    for model in models():
        assert model.__doc__ and model.__doc__.endswith(".")


def test_what_it_says_of_precedence_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several places that set a key, the first of this list counts."""
    places = ["command line", "host", "file", "second", "first", "all", "default"]
    (tmp_path / "group_data").mkdir()
    for group in places[2:6]:
        name = "prod" if group == "file" else group
        keys = "".join(f"key_{n} = {group!r}\n" for n in range(places.index(group) + 1))
        (tmp_path / f"group_data/{name}.py").write_text(keys)
    host = {"key_0": "host", "key_1": "host"}
    (tmp_path / "prod.py").write_text(f"first = ['a']\nsecond = ['a']\nall = [('a', {host})]\n")
    monkeypatch.chdir(tmp_path)
    ctx_state.set(State())
    try:
        inventory = make_inventory("prod.py", {"key_0": "command line"}, str(tmp_path))
    finally:
        ctx_state.reset()
    data = inventory.get_host("a").data
    assert [data.get(f"key_{n}") for n in range(6)] == places[:6]
