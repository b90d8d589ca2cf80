"""The Hub's configuration as data, to which each part (proxy, authenticator, spawner) adds its own.

programs/jupyterhub_config.py applies it on the host. It holds no secret: values that are secret are
named, and systemd hands them to the Hub (LoadCredential=).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: The Hub's own
USER = "jupyterhub"
#: What a command begins with to be run as it, by root
AS_ITSELF = f"setpriv --reuid={USER} --regid={USER} --init-groups"
#: What programs/jupyterhub_config.py applies: without a secret, and the Hub's alone to read
SETTINGS = "/etc/jupyterhub/settings.json"
#: Read by systemd as root and handed to the Hub alone (LoadCredential=, systemd.exec(5))
CREDENTIALS = "/etc/jupyterhub/credentials"
#: Whom it knows (hubstead_hub.sessions.Marks), and who is gone for good (hubstead_hub.sessions)
MARKS, LEFT = "/var/lib/jupyterhub/accounts.json", "/etc/hubstead/hub-left.json"


@dataclass(frozen=True)
class Configuration:
    """What one part adds.

    + traits: class to trait to value, such as {"JupyterHub": {"base_url": "/"}}.
    + code: functions of programs/jupyterhub_config.py to run, for what no value can say.
    """

    traits: Mapping[str, Mapping[str, Any]]
    code: tuple[str, ...] = ()


def credential(name: str) -> dict[str, str]:
    """In the place of a value: the text of a credential of the Hub's unit."""
    return {"credential": name}


def credential_file(name: str) -> dict[str, str]:
    """In the place of a value: the path of a credential of the Hub's unit."""
    return {"credential_file": name}


def packaged(package: str, path: str) -> dict[str, str]:
    """In the place of a value: the path of something in a package of the Hub's release."""
    return {"package": package, "path": path}


def made_by(path: str, *arguments: str) -> dict[str, Any]:
    """In the place of a value: what MODULE:NAME of the Hub's release makes of the arguments."""
    return {"made_by": path, "arguments": list(arguments)}


def settings_json(parts: Iterable[Configuration]) -> str:
    """The text of settings.json for the parts together. Lists of one trait are joined, without
    what is there.

    Raises ValueError where two parts give one trait different values: one of ours is wrong.
    """
    merged: dict[str, dict[str, Any]] = {}
    code: list[str] = []
    for part in parts:
        code += part.code
        for name, traits in part.traits.items():
            section = merged.setdefault(name, {})
            for trait, value in traits.items():
                if isinstance(value, list) and isinstance(section.get(trait, []), list):
                    known = section.get(trait, [])
                    section[trait] = [*known, *(item for item in value if item not in known)]
                elif section.setdefault(trait, value) != value:
                    raise ValueError(f"{name}.{trait} is {section[trait]!r} and {value!r}")
    return json.dumps({"traits": merged, "code": code}, indent=2, sort_keys=True) + "\n"
