"""Site: what an inventory and its settings mean, worked out once for each host.

Roles take it as their parameter, and never ask around. An inventory needs one `hub` group. `db` and
`edge` are optional: an absent tier lives on the hub host.

The proxy routes users to their servers, on the hub host. The edge (Nginx or Apache), where there is
one, stands in front of it, on the hub host or on one of its own. Whichever of them faces the
internet is the front.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Literal, TypeVar, cast
from weakref import WeakKeyDictionary

from pyinfra import logger
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.context import ctx_host, ctx_inventory, ctx_state

from hubstead.distributions import DISTRIBUTIONS, SUPPORTED, Distribution
from hubstead.operations.addresses import Interfaces
from hubstead.operations.disks import DOCKER, POSTGRES, Disk, Disks
from hubstead.operations.firewall import Network
from hubstead.operations.machine import Machine, MachineState
from hubstead.secrets import Secrets
from hubstead.settings.apart import ApartSettings
from hubstead.settings.application import ApplicationSettings
from hubstead.settings.base import BaseSettings
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.model import Others, Settings, SettingsError, check_once, read, read_all
from hubstead.settings.secrets import SecretsSettings
from hubstead.texts import is_host_name

ARCHITECTURES = {"x86_64", "aarch64"}
#: What a run writes to: MiB that the first one needs there, and that a later one does (measured)
Room = dict[str, tuple[int, int]]
HOST_ROOM: Room = {"/": (50, 10), "/usr": (400, 50), "/var": (400, 50), "/var/log": (50, 10)}
DB_ROOM: Room = {POSTGRES: (50, 30)}
#: uv keeps below /root what it fetched
HUB_ROOM: Room = {"/usr": (800, 50), "/root": (600, 0), "/opt/hubstead": (700, 50)}
#: The users' image, which says by itself where there is no room for another (docs/image.md)
IMAGE_ROOM: Room = {DOCKER: (1400, 0)}
#: MiB of a kernel in it: what the largest takes while it is installed (docs/kernels.md)
KERNEL_ROOM = 600
#: Seconds by which a host's clock may differ from that of this machine
CLOCKS = 300

Tier = Literal["db", "hub", "edge"]
T = TypeVar("T", bound=Settings)


class TopologyError(PyinfraError):
    """An inventory that cannot make a service."""


@dataclass(frozen=True)
class Member:
    """A host of the inventory.

    + address: the name or address under which the others reach it.
    + host: pyinfra's, for facts about it.
    """

    name: str
    address: str
    host: Host = field(repr=False, compare=False)


@dataclass(frozen=True)
class Site:
    """What the inventory means for the host `here`.

    + db, hub, edge: which host plays each tier.
    + machine: the host at hand, as it was when the run began.
    + ahead: seconds by which its clock is ahead of this machine's; 0 where it makes no difference.
    + settings: those of the host at hand; `site[EdgeSettings]` are one role's.
    """

    here: Member
    members: tuple[Member, ...]
    db: Member
    hub: Member
    edge: Member
    machine: MachineState
    settings: Others = field(repr=False)
    secrets: Secrets
    ahead: float = 0

    def __getitem__(self, model: type[T]) -> T:
        return self.settings[model]

    def plays(self, tier: Tier) -> bool:
        """Whether the host at hand plays `tier`."""
        return bool(getattr(self, tier) == self.here)

    def serves(self, application: str) -> bool:
        """Whether the host at hand is to serve people by it: jupyterhub or jupyterlab."""
        return self.plays("hub") and self.application == application

    @property
    def application(self) -> str:
        """What people get: jupyterhub or jupyterlab."""
        return self[ApplicationSettings].application

    @property
    def distribution(self) -> Distribution:
        """What the distribution of the host at hand calls things."""
        return DISTRIBUTIONS[self.machine.os, self.machine.version]

    @property
    def others(self) -> list[Member]:
        """The other hosts of the inventory."""
        return [member for member in self.members if member != self.here]

    @property
    def db_apart(self) -> bool:
        """Whether the database is on another host than the Hub."""
        return self.db != self.hub

    @property
    def edge_apart(self) -> bool:
        """Whether the edge is on another host than the Hub."""
        return self.edge != self.hub

    @property
    def has_edge(self) -> bool:
        """Whether something stands in front of the proxy."""
        return self[EdgeSettings].edge != "none"

    @property
    def front(self) -> str:
        """The role that faces the internet, on the host that plays `edge`."""
        return self[EdgeSettings].edge if self.has_edge else self[EdgeSettings].proxy

    @property
    def names(self) -> list[str]:
        """The names of the service, the main one first; people's servers may have others."""
        front = self.edge.name
        return self[EdgeSettings].hub_names or ["localhost" if front.startswith("@") else front]

    @property
    def servers_name(self) -> str | None:
        """Where people's servers are: a name, or `*.NAME` for one each; None for the service's."""
        settings = self[ApartSettings]
        if self.application != "jupyterhub":
            return None
        return f"*.{self.names[0]}" if settings.hub_user_domains else settings.hub_servers_name

    @property
    def every_name(self) -> list[str]:
        """All names under which people come, as certificates have them, the main one first."""
        return [*self.names, *([self.servers_name] if self.servers_name else [])]

    @property
    def url(self) -> str:
        """The address of the service, without a path."""
        return f"https://{self.names[0]}{self[EdgeSettings].port_in_url}"

    @property
    def proxy_address(self) -> str:
        """Where the edge finds the proxy: the name or address that the proxy's certificate has."""
        return self.hub.address if self.edge_apart else "localhost"

    @property
    def proxy_endpoint(self) -> str:
        """Where the edge connects to it, as HOST:PORT (RFC 3986, 3.2.2); on one host, over IPv4."""
        host = self.hub.address if self.edge_apart else "127.0.0.1"
        port = self[EdgeSettings].proxy_port
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def edge_networks(self) -> list[str]:
        """The edge as the proxy sees it, whose word on the visitor's address and scheme counts.

        Each network is of one address; none without an edge. Raises as `networks` does.
        """
        if not self.has_edge:
            return []
        if not self.edge_apart:
            return ["127.0.0.1/32", "::1/128"]
        return [str(network) for network in networks(self, self.edge)]


_sites: WeakKeyDictionary[Host, Site] = WeakKeyDictionary()


def here() -> Site:
    """The site of the host at hand, which has room for what a run writes there.

    Raises as `found` does, and PyinfraError for a full disk.
    """
    site = found()
    if full := _full_disks(site, bare=site.machine.bare):
        raise PyinfraError(
            f"{site.here.name}: the disk is full; no host was touched. {full}. Make room, then run "
            "again."
        )
    state: State = ctx_state.get()
    if not any(isinstance(handler, _Failures) for handler in state.callback_handlers):
        state.add_callback_handler(_Failures())
    return site


class _Failures(BaseStateCallback):
    """A disk that others fill while a run is at work, said where an operation fails.

    What a program says of it may be anything.
    """

    @staticmethod
    def operation_host_error(
        state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        # of a host that does not answer any more nobody knows
        with suppress(PyinfraError):
            if full := _full_disks(_sites[host], bare=False):
                logger.error(
                    f"{host.name}: the disk is full by now. {full}. Make room, then run again: "
                    "that goes on where this run ended."
                )


def found() -> Site:
    """The site of the host at hand, be its disks full: for what takes away, and writes nothing.

    The first call of a run checks the whole inventory. Raises SettingsError, TopologyError, and
    PyinfraError for a host that Hubstead cannot be deployed to.
    """
    host = cast(Host, ctx_host.get())
    if host not in _sites:
        site = as_it_is()
        _refuse_read_only(site)
        _refuse_another_time(site)
        _sites[host] = site
    return _sites[host]


def as_it_is() -> Site:
    """The same for who changes nothing there: a full disk or a wrong clock is what it looks for.

    Raises as `found` does for what is no host of ours.
    """
    host = cast(Host, ctx_host.get())
    inventory: Inventory = ctx_inventory.get()
    check_once(inventory)
    members = {each: _member(each) for each in inventory}
    hub = _playing("hub", members)
    db, edge = _playing("db", members, hub), _playing("edge", members, hub)
    settings = read_all(host.data.dict())
    if edge != hub and settings[EdgeSettings].edge == "none":
        raise TopologyError(
            f"The group `edge` has the host {edge.name}, and `edge` = 'none' means that the proxy "
            'on the hub host faces the internet. Set `edge` to "nginx" or "apache", or remove the '
            "group."
        )
    machine, ahead = _fit_machine(host)
    site = Site(
        here=members[host],
        members=tuple(members.values()),
        db=db,
        hub=hub,
        edge=edge,
        machine=machine,
        ahead=ahead,
        settings=settings,
        secrets=Secrets(hub.name, settings[SecretsSettings]),
    )
    _refuse_unfit_names(site)
    return site


def _refuse_unfit_names(site: Site) -> None:
    """Raises SettingsError for names of the service below or beside which no servers can be."""
    name, *others = site.names
    if site.servers_name == name:
        raise SettingsError(
            f"`hub_servers_name` = {name!r} is the name of the service itself; no host was "
            "touched. The Hub and the servers need different names (docs/apart.md)."
        )
    if site.servers_name != f"*.{name}":
        return
    # browsers and OpenSSL take no wildcard below a single label
    if not is_host_name(name) or "." not in name:
        raise SettingsError(
            f"`hub_user_domains`: there are no names below {name}, the first of `hub_names`, that "
            'a certificate could be for; no host was touched. Set `hub_names` to ["hub.localhost"] '
            'or ["hub.example.org"], say, or choose another way (docs/apart.md).'
        )
    for other in others:
        if other.endswith(f".{name}"):
            raise SettingsError(
                f"`hub_names`: {other} is the name of somebody's server with `hub_user_domains`; "
                f"no host was touched. Take one that is not below {name}."
            )


def room(site: Site) -> Room:
    """What the host at hand needs of its disks."""
    needed = dict(HOST_ROOM)
    if site.plays("db"):
        needed |= DB_ROOM
    if site.plays("hub"):
        needed |= HUB_ROOM
    if site.serves("jupyterhub"):
        needed |= IMAGE_ROOM | {site[HubSettings].hub_files: (10, 0)}
        further = {*site[HubSettings].hub_kernels} - {"python"}
        needed[DOCKER] = (needed[DOCKER][0] + KERNEL_ROOM * len(further), 0)
    return needed


@dataclass(frozen=True)
class Need:
    """A file system of the host at hand, and the MiB that a run needs there for `paths`."""

    disk: Disk
    least: int
    paths: str

    def __str__(self) -> str:
        return (
            f"{self.disk.target} has {self.disk.free} MiB free, and this run needs {self.least} "
            f"there, for {self.paths}"
        )


def needs(site: Site, bare: bool) -> list[Need]:
    """What a run writes to.

    + bare: whether it is the host's first run.
    """
    needed = room(site)
    each_disk: dict[str, list[tuple[int, str, Disk]]] = {}
    for asked, (path, disk) in site.here.host.get_fact(Disks, [*needed]).items():
        first, later = needed[asked]
        each_disk.setdefault(disk.identity, []).append((first if bare else later, path, disk))
    return [
        Need(
            disk=each[0][2],
            least=sum(size for size, _, _ in each),
            paths=", ".join(path for size, path, _ in each if size),
        )
        for each in each_disk.values()
    ]


def _full_disks(site: Site, bare: bool) -> str:
    """Which file systems have no room for all that comes there, in words; "" for none."""
    return "; ".join(str(need) for need in needs(site, bare) if need.disk.free < need.least)


def _refuse_read_only(site: Site) -> None:
    if directories := site.machine.read_only:
        raise PyinfraError(
            f"{site.here.name}: a run writes to {', '.join(directories)}, mounted read-only; no "
            "host was touched. `mount -o remount,rw` may do, once `dmesg` tells of no failing disk."
        )


def _refuse_another_time(site: Site) -> None:
    if site.ahead:
        raise PyinfraError(
            f"{site.here.name}: {another_time(site.ahead)}; no host was touched. Certificates, "
            "packages and logins count by it. Set the wrong one of the two: `timedatectl` says "
            "there and here whether it is kept right."
        )


def _member(host: Host) -> Member:
    address = read(BaseSettings, host.data.dict()).base_address
    return Member(host.name, address or host.name, host)


def _playing(tier: Tier, members: dict[Host, Member], default: Member | None = None) -> Member:
    """The host that plays `tier`. Raises TopologyError where not exactly one does."""
    found = [member for host, member in members.items() if tier in host.groups]
    if not found and default:
        return default
    if len(found) != 1:
        names = ", ".join(member.name for member in found) or "none"
        raise TopologyError(
            f"The inventory needs exactly one host in the group `{tier}`, and it has {names}. "
            f'Write, for example: {tier} = ["hub.example.org"]'
        )
    return found[0]


def _fit_machine(host: Host) -> tuple[MachineState, float]:
    """The host as it is, and by how much its clock is ahead."""
    asked = time.time()
    try:
        state: MachineState = host.get_fact(Machine)
        answered = time.time()
    except EOFError as error:
        # pyinfra asks for it where sudo does
        raise PyinfraError(
            f"{host.name}: sudo asks for a password, and there is no terminal to type it at; no "
            "host was touched. Run at a terminal, or see docs/own.md, A password for sudo."
        ) from error
    # as pyinfra has it where a fact failed, and other hosts did not
    if cast(MachineState | None, state) is None:
        raise PyinfraError(
            f"{host.name} does not say what it is: Python 3 and sudo have to work there."
        )
    system = f"{host.name} is {state.os} {state.version} on {state.architecture}"
    if (state.os, state.version) not in DISTRIBUTIONS:
        raise PyinfraError(
            f"{system}: Hubstead runs on {SUPPORTED}. Install one of them on this host."
        )
    if state.architecture not in ARCHITECTURES:
        raise PyinfraError(f"{system}: Hubstead runs on x86_64 and aarch64. Take another host.")
    if not state.root:
        raise PyinfraError(
            f"{host.name}: the run is not root there, and has to be. Write `_sudo = True` into "
            "group_data/all.py, in the directory that you run pyinfra in (docs/own.md)."
        )
    if not state.systemd:
        raise PyinfraError(
            f"{host.name} was booted without systemd, and Hubstead's services are systemd's. "
            "Install systemd-sysv and boot the host again, or take one that is no container."
        )
    return state, clock_ahead(state.clock, asked, answered)


def clock_ahead(clock: float | None, asked: float, answered: float) -> float:
    """Seconds by which a host's clock is ahead of this machine's, 0 where that makes no difference.

    + clock: what it said between the moments `asked` and `answered`, in seconds since the epoch.
    """
    if clock is None or asked - CLOCKS <= clock <= answered + CLOCKS:
        return 0
    return clock - (answered if clock > answered else asked)


def another_time(ahead: float) -> str:
    """The same in words."""
    return (
        f"its clock is {abs(ahead) / 60:.0f} minutes {'ahead of' if ahead > 0 else 'behind'} that "
        "of this machine"
    )


def networks(site: Site, of: Member) -> list[Network]:
    """The addresses from which a host reaches the others, each as a network of one address.

    Those of bridges of its own containers and virtual machines are not among them: nothing leaves
    the host from there. A host is asked even where `--limit` leaves it out. Raises PyinfraError
    without an answer, and for a host without an address.
    """
    try:
        interfaces = of.host.get_fact(Interfaces)
    except ConnectError as error:
        raise PyinfraError(
            f"{of.name} does not answer, and {site.here.name} has to know its addresses, even in a "
            f"run with --limit: {error}. Bring it up, then run again."
        ) from error
    found = [ip_network(str(a)) for each in interfaces if each.outward for a in each.addresses]
    if not found:
        raise PyinfraError(
            f"{of.name} has no address from which it could reach {site.here.name}, by what `ip "
            "address` says there (package iproute2): give it one, then run again."
        )
    return found
