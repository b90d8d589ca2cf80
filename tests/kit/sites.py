"""Sites without an inventory: what a role gets as its parameter."""

from __future__ import annotations

from typing import Any
from unittest.mock import NonCallableMock

from pyinfra.api.host import Host

from hubstead.operations.machine import MachineState
from hubstead.secrets import Secrets
from hubstead.settings.model import read_all
from hubstead.settings.secrets import SecretsSettings
from hubstead.site import Member, Site

HUB = "hub.example.org"


def machine() -> MachineState:
    """A bare Debian 13."""
    return MachineState(
        os="debian", version="13", codename="trixie", architecture="x86_64", memory=24105, cores=2,
        systemd=True, bare=True, listeners={},
    )  # fmt: skip


def sites(
    data: dict[str, Any], *, hub: str = HUB, db: str | None = None, edge: str | None = None
) -> dict[str, Site]:
    """The site of each host, by its name."""
    settings = read_all(data)
    db, edge = db or hub, edge or hub
    names = dict.fromkeys((hub, db, edge))
    members = {name: Member(name, name, NonCallableMock(Host)) for name in names}
    return {
        name: Site(
            here=here,
            members=tuple(members.values()),
            db=members[db],
            hub=members[hub],
            edge=members[edge],
            machine=machine(),
            settings=settings,
            secrets=Secrets(hub, settings[SecretsSettings]),
        )
        for name, here in members.items()
    }


def site(**data: Any) -> Site:
    """One host with everything."""
    return sites(data)[HUB]
