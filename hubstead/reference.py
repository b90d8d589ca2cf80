"""The settings reference, docs/settings.md, from the Settings models; `make docs` writes it.

tests/unit/test_reference.py fails when the file is not what the models say.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hubstead.settings.model import Choice, Settings, models

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

_PREFACE = """\
<!-- Written by `make docs` from the Settings models in hubstead/: edit those. -->
# Settings

Every setting has a default, so an inventory needs nothing but its hosts. Keys are flat; a key's
prefix names the role that reads it. All settings of all hosts are checked before anything is done,
and a mistyped key is an error that names the right one.

## Where to set them

pyinfra takes a key from the first of these that has it:

1. the command line, for every host: `--data hub_debug=true`; lists and dictionaries as JSON:
   `--data 'hub_names=["hub.example.org"]'`;
2. the host, in the inventory: `hub = [("hub.example.org", {"hub_memory_limit": "8G"})]`;
3. its groups: each has a file of its name in `group_data/`, in the directory that you run pyinfra
   in or beside the inventory; where both have it, both count, and the latter wins. The inventory
   file's own name is a group too and comes first (`group_data/prod.py` for `inventories/prod.py`);
   of the others, the last in the inventory;
4. `group_data/all.py`;
5. the default below.

Inventory and group data may lie in a directory of their own, outside the clone: [own.md](own.md). A
path in a setting is relative to the directory that you run pyinfra in.

A setting that concerns several hosts, such as a port of the Hub, belongs to all of them: into
`group_data/all.py` or the group of the inventory file's name.

Keys that no role has are your own data: deploys of yours read them as `host.data.KEY`. Secrets are
no settings: they are made by themselves and kept as section "secrets" says; the environment beats
both places (`HUBSTEAD_` and the name in capitals). One that you bring is printable ASCII; the Hub's
cookie secret is 64 hexadecimal digits. What will not do is refused before a host is touched.
"""

_WORDS: dict[Any, tuple[str, str]] = {
    str: ("text", "texts"),
    bool: ("`True` or `False`", ""),
    int: ("whole number", "whole numbers"),
    float: ("number", "numbers"),
    Path: ("path", "paths"),
    IPv4Network: ("IPv4 network", "IPv4 networks"),
    IPv4Network | IPv6Network: ("network", "networks"),
}


def _words(annotation: Any, plural: bool = False) -> str:
    """A type in words that need no Python."""
    if annotation in _WORDS:
        return _WORDS[annotation][plural]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _choices(arguments[1:]) or _words(arguments[0], plural)
    if origin is Literal:
        return " or ".join(f'`"{value}"`' for value in arguments)
    if origin is list:
        return f"list of {_words(arguments[0], plural=True)}"
    if origin is dict:
        return f"dictionary of {_words(arguments[1], plural=True)}"
    if origin in (Union, types.UnionType):
        present = [argument for argument in arguments if argument is not type(None)]
        return " or ".join(_words(argument, plural) for argument in present)
    if issubclass(annotation, BaseModel):
        return "dictionaries" if plural else "dictionary"
    raise TypeError(f"no words for {annotation}")


def _choices(metadata: Iterable[Any], default: Any = None) -> str | None:
    """The parts that a field may name, the default first."""
    for choice in metadata:
        if isinstance(choice, Choice):
            names = sorted(choice.names, key=lambda name: name != default)
            return " or ".join(f'`"{name}"`' for name in names)
    return None


def _bounds(field: FieldInfo) -> str:
    bounds: dict[type, Any] = {type(item): item for item in field.metadata}
    least, most = bounds.get(annotated_types.Ge), bounds.get(annotated_types.Le)
    if least and most:
        return f", {least.ge} to {most.le}"
    if least:
        return f", {least.ge} or more"
    if above := bounds.get(annotated_types.Gt):
        return f" above {above.gt}"
    return ""


def _python(value: Any) -> str:
    """A default as one would write it in group data."""
    if isinstance(value, BaseModel):
        return _python(value.model_dump(exclude_defaults=True))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_python(k)}: {_python(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_python, value)) + "]"
    if isinstance(value, bool | int | float | None):
        return repr(value)
    return f'"{value}"'


def _section(model: type[Settings]) -> Iterator[str]:
    yield f"\n## {model.__module__.rsplit('.', 1)[-1]}\n"
    yield f"{model.__doc__}\n"
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for key, field in model.model_fields.items():
        kind = _choices(field.metadata, field.default) or _words(field.annotation)
        default = f"`{_python(field.default)}`"
        yield f"| `{key}` | {kind}{_bounds(field)} | {default} | {field.description} |"


def render() -> str:
    """The page."""
    sections = sorted(models(), key=lambda model: model.__module__.rsplit(".", 1)[-1])
    lines = [line for model in sections for line in _section(model)]
    return _PREFACE + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
