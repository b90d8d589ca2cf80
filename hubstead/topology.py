"""Which host plays which tier.

An inventory needs one `hub` group. `db` and `edge` are optional: an absent tier lives on the hub
host.
"""

from __future__ import annotations

from typing import Literal, cast

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, ctx_inventory

Tier = Literal["db", "hub", "edge"]


class TopologyError(PyinfraError):
    """An inventory that cannot make a service."""


def tier_host(tier: Tier) -> Host:
    """The host that plays `tier`. Raises TopologyError where not exactly one does."""
    hosts: list[Host] = list(ctx_inventory.get())
    members = [host for host in hosts if tier in host.groups]
    if not members and tier != "hub":
        return tier_host("hub")
    if len(members) != 1:
        names = ", ".join(host.name for host in members) or "none"
        raise TopologyError(
            f"The inventory needs exactly one host in the group `{tier}`, and it has {names}. "
            f'Write, for example: {tier} = ["hub.example.org"]'
        )
    return members[0]


def plays(tier: Tier) -> bool:
    """Whether the host at hand plays `tier`."""
    return tier_host(tier) is cast(Host, ctx_host.get())
