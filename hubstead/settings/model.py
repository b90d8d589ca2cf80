"""Settings: flat keys in host data, checked for every host before the first operation runs.

A role describes its keys as a pydantic model derived from `Settings`: in its own module where it
alone reads them, else beside this one. Keys are full names (`docker_subnet`), so that `--data`, an
inventory or a group can override one of them, as pyinfra's own data precedence has it.
"""

from __future__ import annotations

import difflib
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast
from weakref import WeakSet

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import CoreSchema, core_schema
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.context import ctx_config

from hubstead.texts import is_inventory_name

PROJECT = Path(__file__).parents[2]
#: A folder a choice, and in it a module a part (hubstead.parts)
PARTS = PROJECT / "hubstead/roles/hub"
#: Keys of other programs in host data: pyinfra's connectors and the lab.
FOREIGN_PREFIXES = ("ssh_", "_", "lab_", "local_")

T = TypeVar("T", bound="Settings")


class SettingsError(PyinfraError):
    """Settings that must not reach a host; the message names each key and the mend."""


@dataclass(frozen=True)
class Choice:
    """In an annotation: the name of one of the parts in a folder of `PARTS`.

    Whoever adds a module there adds a choice.
    """

    folder: str

    @property
    def names(self) -> list[str]:
        """As the settings call them: users-table is users_table.py."""
        modules = pkgutil.iter_modules([str(PARTS / self.folder)])
        return sorted(module.name.replace("_", "-") for module in modules)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.literal_schema(self.names)


AUTHENTICATORS, SPAWNERS, PROXIES, KERNELS = map(
    Choice, ("authenticators", "spawners", "proxies", "kernels")
)


def check_distinct(names: Sequence[str]) -> None:
    """Raise ValueError for a name that is there twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]!r} is there twice")


class Settings(BaseModel):
    """The base of every role's settings.

    `prefixes` are the key prefixes that belong to the role: an unknown key under one of them is
    an error. Keys that begin with one of `everywhere` concern several hosts, and have one value in
    an inventory. A field's description is its line in the settings reference. `removed` are keys of
    earlier versions, each with what became of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    prefixes: ClassVar[tuple[str, ...]] = ()
    everywhere: ClassVar[tuple[str, ...]] = ()
    removed: ClassVar[dict[str, str]] = {}
    models: ClassVar[list[type[Settings]]] = []

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        Settings.models.append(cls)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.check()
        return self

    def check(self) -> None:
        """Refuse impossible combinations of this role's keys; raises ValueError."""

    def check_beside(self, others: Others) -> None:
        """Refuse what is impossible together with other roles' keys; raises ValueError."""


class Others:
    """The checked settings of every role for one host."""

    def __init__(self, checked: Mapping[type[Settings], Settings]) -> None:
        self._checked = checked

    def __getitem__(self, model: type[T]) -> T:
        return cast(T, self._checked[model])


def models() -> list[type[Settings]]:
    """The settings of every role, whichever of them a deploy uses: all of them are checked."""
    for package in ("hubstead.settings", "hubstead.roles"):
        path = import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            import_module(module.name)
    return Settings.models


def known_keys() -> dict[str, type[Settings]]:
    """Every key of every role, with the model that has it."""
    return {key: model for model in models() for key in model.model_fields}


def explain_unknown(key: str, known: Iterable[str]) -> str:
    """One line on a key that no role has: what became of it, or the nearest name for a typo."""
    for model in models():
        if key in model.removed:
            return f"`{key}` is no setting any more: {model.removed[key]}. Remove it"
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    mend = f"did you mean `{near[0]}`?" if near else "no role has such a key; remove it"
    return f"`{key}` is not a setting: {mend}"


def unknown_keys(data: Mapping[str, Any]) -> Iterator[str]:
    """The keys of `data` that look like settings and are none.

    A key under a role's prefix counts, and so does one that is nearly a setting's name. Other
    keys are the owner's own data.
    """
    known = known_keys()
    prefixes = tuple(prefix for model in models() for prefix in model.prefixes)
    for key in data:
        if key in known or key.startswith(FOREIGN_PREFIXES):
            continue
        if key.startswith(prefixes) or difflib.get_close_matches(key, known, n=1, cutoff=0.85):
            yield key


def _explain(
    error: ValidationError, model: type[Settings], data: Mapping[str, Any]
) -> Iterator[str]:
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        if not item["loc"]:
            yield message
            continue
        key = str(item["loc"][0])
        if item["type"] == "extra_forbidden":
            message = "there is no such key"
        elif item["type"] in ("list_type", "dict_type") and isinstance(item["input"], str):
            message += "; on the command line it is written as JSON, in quotes"
        elif len(item["loc"]) == 1:
            message += _example(model, key)
        where = "".join(f"[{part!r}]" for part in item["loc"][1:])
        yield f"`{key}{where}`{_shown(key, data.get(key))}: {message[:1].lower()}{message[1:]}"


def _example(model: type[Settings], key: str) -> str:
    default = model.model_fields[key].default
    plain = isinstance(default, str | int | float | IPv4Network)
    return f"; the default is {default}" if plain else ""


def _shown(key: str, value: Any) -> str:
    """The value for an error message, without a secret: neither its own nor one inside a URL."""
    if any(word in key for word in ("secret", "password", "token")):
        return ""
    return f" = {re.sub('//[^/@]*@', '//***@', repr(value))}"


def read(model: type[T], data: Mapping[str, Any]) -> T:
    """The settings of one role, from host data that has passed `check`."""
    return model(**{key: data[key] for key in model.model_fields if key in data})


def check(data: Mapping[str, Any]) -> list[str]:
    """Every mistake in one host's settings, one line each; empty when there is none."""
    known = known_keys()
    mistakes = [explain_unknown(key, known) for key in unknown_keys(data)]
    checked: dict[type[Settings], Settings] = {}
    for model in models():
        try:
            checked[model] = read(model, data)
        except ValidationError as error:
            mistakes.extend(_explain(error, model, data))
    if len(checked) == len(models()):
        for settings in checked.values():
            try:
                settings.check_beside(Others(checked))
            except ValueError as error:
                mistakes.append(str(error))
    return mistakes


def disagreements(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The keys that must be the same on all hosts and are not, one line each.

    + hosts: host data that has passed `check`, by the host's name.
    """
    for model in models():
        checked = {name: read(model, data) for name, data in hosts.items()}
        for key in model.model_fields:
            found: dict[str, list[str]] = {}
            for name, settings in checked.items():
                found.setdefault(repr(getattr(settings, key)), []).append(name)
            if key.startswith(model.everywhere) and len(found) > 1:
                each = " and ".join(f"{value} on {', '.join(of)}" for value, of in found.items())
                yield (
                    f"`{key}` concerns several hosts, and is {each}: set it once for all of them, "
                    "in group_data/all.py or for every group of the inventory"
                )


def check_inventory(hosts: Iterable[Host]) -> None:
    """Check every role's settings on every host.

    Raises SettingsError with all mistakes of all hosts, so that they are mended in one go.
    """
    data = {host.name: host.data.dict() for host in hosts}
    found: dict[str, list[str]] = {}
    for name, values in data.items():
        mistakes = [] if is_inventory_name(name) else [_UNFIT_NAME]
        for mistake in mistakes + check(values):
            found.setdefault(mistake, []).append(name)
    lines = [f"  {', '.join(names)}: {mistake}" for mistake, names in found.items()]
    lines += [] if found else [f"  {mistake}" for mistake in disagreements(data)]
    if lines:
        raise SettingsError("Settings are wrong; no host was touched.\n" + "\n".join(lines))


_UNFIT_NAME = (
    "the name of this host in the inventory has more than letters, digits and . - _ : / @ +: give "
    "it a plain one, and set `ssh_hostname` to what SSH connects to"
)


def refuse_unread_config() -> None:
    """Raises PyinfraError where pyinfra did not read our config.py: in another directory, say.

    A host that fails would then not stop the others (pyinfra's FAIL_PERCENT).
    """
    if ctx_config.isset() and ctx_config.get().FAIL_PERCENT is None:
        raise PyinfraError(
            "pyinfra did not read Hubstead's config.py, so one failed host would not stop the "
            "others; no host was touched. pyinfra reads it from the directory that you run it in: "
            f"make a link there, `ln -s {PROJECT}/config.py .` (docs/own.md)"
        )


_checked: WeakSet[Inventory] = WeakSet()


def check_once(inventory: Inventory) -> None:
    """Check every host's settings, at the first call of a run. Raises SettingsError."""
    if inventory not in _checked:
        refuse_unread_config()
        check_inventory(inventory)
        _checked.add(inventory)


def read_all(data: Mapping[str, Any]) -> Others:
    """The settings of every role, from host data that has passed `check`."""
    return Others({model: read(model, data) for model in models()})
