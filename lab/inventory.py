"""The hosts that a pyinfra inventory names, read by pyinfra's own loader."""

import ipaddress
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.image import SUITES
from lab.network import RANGE
from lab.state import LabError

#: What the lab reads of a host beside its own keys: whether it asks Let's Encrypt, for which names
NAMES = ("hub_names", "hub_servers_name")
CERTIFIED = ("tls", "tls_acme_directory", "tls_acme_staging", *NAMES)
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True)
class Spec:
    """What the inventory asks of one host; memory is in MiB.

    `acme`: it asks Let's Encrypt for its certificate, or rather the server that the lab plays.
    """

    name: str
    os: str = "trixie"
    memory: int | None = None
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    helper: str | None = None
    acme: bool = False


def read(inventory: Path, project: Path) -> list[Spec]:
    """The hosts of an inventory file, with the group data of the project.

    pyinfra_cli patches the standard library for gevent when it is imported, so that it is read in
    a process of its own. Raises LabError when the file is missing, broken, or names no lab host.
    """
    if not inventory.is_file():
        raise LabError(
            f"There is no inventory {inventory}. Name a file, such as inventories/lab.py."
        )
    command = [sys.executable, "-m", "lab.inventory", str(inventory)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LabError(f"pyinfra cannot read the inventory {inventory}: {reason}")
    specs = [parse(name, data) for name, data in json.loads(done.stdout).items()]
    if not specs:
        raise LabError(f"The inventory {inventory} names no hosts.")
    return specs


def parse(name: str, data: dict[str, Any]) -> Spec:
    """One host's name and its data, the lab_… keys checked."""
    if name.startswith("@"):
        raise LabError(
            f"{name} is not a host that the lab can boot: it boots hosts that are reached by SSH, "
            "under a name of their own. Deploy to this machine with pyinfra alone."
        )
    if not NAME.fullmatch(name):
        raise LabError(f"{name!r} is no host name: use lower-case letters, digits, hyphens, dots.")
    os, memory = data.get("lab_os", "trixie"), data.get("lab_memory")
    if os not in SUITES:
        raise LabError(f"lab_os of {name} is {os!r}; it can be {' or '.join(SUITES)}.")
    if memory is not None and (not isinstance(memory, int) or memory < 128):
        raise LabError(f"lab_memory of {name} is {memory!r}; it is a number of MiB from 128.")
    addresses = data.get("lab_addresses") or []
    if not isinstance(addresses, list | tuple):
        raise LabError(f"lab_addresses of {name} is {addresses!r}; it is a list of IPv4 addresses.")
    addresses = tuple(check_address(name, address) for address in addresses)
    names = data.get("lab_names") or []
    if not isinstance(names, list | tuple) or not all(
        isinstance(text, str) and NAME.fullmatch(text) for text in names
    ):
        raise LabError(f"lab_names of {name} is {names!r}; it is a list of lower-case host names.")
    own_server = data.get("tls_acme_directory") or data.get("tls_acme_staging")
    asks = data.get("tls") == "acme" and not own_server
    # a server that certifies the service's names must find the host by them; whether they are
    # names at all is the deploy's to say
    service = data.get("hub_names") if asks else None
    if asks and data.get("hub_servers_name"):
        names = [*names, str(data["hub_servers_name"])]
    if isinstance(service, list | tuple):
        names = [*names, *map(str, service)]
    names = [text for text in names if NAME.fullmatch(text)]
    others = tuple(dict.fromkeys(text for text in names if text != name))
    return Spec(name, os, memory, addresses, others, acme=asks)


def check_address(name: str, text: Any) -> str:
    """An extra address, refused when a packet to it could be meant for a real machine."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise LabError(f"lab_addresses of {name}: {text!r} is not an IPv4 address.") from None
    if address in RANGE or address.is_loopback or address.is_multicast or address.is_global:
        raise LabError(
            f"lab_addresses of {name}: {address} cannot be played by a lab host. Take a link-local "
            "address (169.254.0.0/16) or one of the benchmark range (198.18.1.0/24)."
        )
    return str(address)


def main(inventory: str) -> None:
    """Print {host: {key: value}} as JSON; only the front has the service's names."""
    from pyinfra.api.state import State
    from pyinfra.context import ctx_state
    from pyinfra_cli.inventory import make_inventory

    ctx_state.set(State())
    hosts = list(make_inventory(inventory, cwd=str(Path.cwd())))
    fronts = [host for host in hosts if "edge" in host.groups]
    fronts = fronts or [host for host in hosts if "hub" in host.groups]
    found = {}
    for host in hosts:
        data = host.data.dict()
        found[host.name] = {
            key: value
            for key, value in data.items()
            if key.startswith("lab_") or (key in CERTIFIED and (host in fronts or key not in NAMES))
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
