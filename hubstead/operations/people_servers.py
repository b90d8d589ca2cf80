"""People's servers as units of systemd: their network, and its end (programs/people_network.py)."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import host

#: Of the journal of what servers print (systemd-journald@.service)
LOGS = "hubstead-servers"
#: All that runs or is being started, at once, and what keeps their journal
_STOP = (
    "systemctl stop 'hubstead-server@*.service' 'hubstead-server-network@*.service'"
    f" 'systemd-journald*@{LOGS}.*'"
    # whose last sync finds nobody there (systemd-journald-sync@.service, systemd 257)
    f" && systemctl reset-failed 'systemd-journald*@{LOGS}.*'"
    # what single ones had besides the template
    " && rm -rf /run/systemd/system/hubstead-server@[0-9]*.service.d"
)


class Network(FactBase[dict[str, Any] | None]):
    """The network that an earlier run made, as its policy says; None where none did.

    + policy: the document of the network's program on the host.
    """

    def command(self, policy: str) -> StringCommand:
        return StringCommand("cat", QuoteString(policy), "2>/dev/null || true")

    def process(self, output: list[str]) -> dict[str, Any] | None:
        try:
            return dict(json.loads("\n".join(output))) if output else None
        except (ValueError, TypeError) as error:
            raise FactProcessError(f"unreadable policy of a network: {error}") from error


@operation()
def moved(policy: str, wanted: str, program: str) -> Generator[StringCommand]:
    """Ensure that there is no network of people's servers by earlier settings, nor a server in it.

    + policy: the document of the network's program on the host.
    + wanted: what it will say.
    + program: the text of the program.
    """
    known = host.get_fact(Network, policy)
    if known is not None and known != json.loads(wanted):
        yield from _ended(policy, program)


@operation()
def absent(policy: str, program: str) -> Generator[StringCommand]:
    """Ensure that no server of people's runs as a unit of systemd, nor has a network.

    + policy, program: as `moved` has them.
    """
    if host.get_fact(Network, policy) is not None:
        yield from _ended(policy, program)


def _ended(policy: str, program: str) -> Generator[StringCommand]:
    yield StringCommand(_STOP)
    yield StringCommand("python3 -I -", QuoteString(policy), "down", _stdin=program)
