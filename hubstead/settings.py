"""Settings: flat keys in host data, checked for every host before the first operation runs.

A role describes its keys as a pydantic model derived from `Settings`; `load` returns the checked
model for the host at hand. Keys are full names (`docker_subnet`), so that `--data`, an inventory
or a group can override one of them, as pyinfra's own data precedence has it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, ctx_inventory

#: Keys of other programs in host data: pyinfra's connectors and the lab.
FOREIGN_PREFIXES = ("ssh_", "_", "lab_", "local_")


class SettingsError(PyinfraError):
    """Settings that must not reach a host; the message names each key and the mend."""


class Settings(BaseModel):
    """The base of every role's settings.

    `prefixes` are the key prefixes that belong to the role: an unknown key under one of them is
    an error. A field's description is its line in the settings reference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    prefixes: ClassVar[tuple[str, ...]] = ()
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


def known_keys() -> dict[str, type[Settings]]:
    """Every key of every role, with the model that has it."""
    return {key: model for model in Settings.models for key in model.model_fields}


def explain_unknown(key: str, known: Iterable[str]) -> str:
    """One line on a key that no role has, with the nearest valid name for a typo."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    mend = f"did you mean `{near[0]}`?" if near else "no role has such a key; remove it"
    return f"`{key}` is not a setting: {mend}"


def unknown_keys(data: Mapping[str, Any]) -> Iterator[str]:
    """The keys of `data` that look like settings and are none.

    A key under a role's prefix counts, and so does one that is nearly a setting's name. Other
    keys are the owner's own data.
    """
    known = known_keys()
    prefixes = tuple(prefix for model in Settings.models for prefix in model.prefixes)
    for key in data:
        if key in known or key.startswith(FOREIGN_PREFIXES):
            continue
        if key.startswith(prefixes) or difflib.get_close_matches(key, known, n=1, cutoff=0.85):
            yield key


def _explain(error: ValidationError, data: Mapping[str, Any]) -> Iterator[str]:
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        if not item["loc"]:
            yield message
            continue
        key = str(item["loc"][0])
        where = "".join(f"[{part!r}]" for part in item["loc"][1:])
        value = "" if _is_secret(key) else f" = {data.get(key)!r}"
        yield f"`{key}{where}`{value}: {message[:1].lower()}{message[1:]}"


def _is_secret(key: str) -> bool:
    return any(word in key for word in ("secret", "password", "token"))


def check(data: Mapping[str, Any]) -> list[str]:
    """Every mistake in one host's settings, one line each; empty when there is none."""
    known = known_keys()
    mistakes = [explain_unknown(key, known) for key in unknown_keys(data)]
    for model in Settings.models:
        try:
            model(**{key: data[key] for key in model.model_fields if key in data})
        except ValidationError as error:
            mistakes.extend(_explain(error, data))
    return mistakes


def check_inventory(hosts: Iterable[Host]) -> None:
    """Check every role's settings on every host.

    Raises SettingsError with all mistakes of all hosts, so that they are mended in one go.
    """
    found: dict[str, list[str]] = {}
    for host in hosts:
        for mistake in check(host.data.dict()):
            found.setdefault(mistake, []).append(host.name)
    if found:
        lines = [f"  {', '.join(names)}: {mistake}" for mistake, names in found.items()]
        raise SettingsError("Settings are wrong; no host was touched.\n" + "\n".join(lines))


T = TypeVar("T", bound=Settings)
_checked: set[int] = set()


def load(model: type[T]) -> T:
    """The settings of one role for the host at hand.

    The first call of a run checks the whole inventory. Raises SettingsError.
    """
    return load_for(model, cast(Host, ctx_host.get()))


def load_for(model: type[T], host: Host) -> T:
    """As `load`, for another host of the inventory."""
    inventory = ctx_inventory.get()
    if id(inventory) not in _checked:
        check_inventory(inventory)
        _checked.add(id(inventory))
    data = host.data.dict()
    return model(**{key: data[key] for key in model.model_fields if key in data})
