"""Parts: what a proxy, an authenticator, a spawner or a kernel adds to the Hub and to its host.

Each is a module of its own in a folder of hubstead/roles/hub, with the part as its `PART`, and its
Settings where it has any. Its name, with hyphens, is the value of the setting: the module is all
that a new choice needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from hubstead.hub import Configuration, packaged
from hubstead.operations.checks import Check
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.jupyterhub import FORMS, HubSettings
from hubstead.settings.model import AUTHENTICATORS, KERNELS, PROXIES, SPAWNERS, Choice
from hubstead.site import Site

_ROLES = "hubstead.roles.hub"


#: Operations on the host at hand; pyinfra's `@deploy` returns what nobody needs
Deploy = Callable[..., object]


def _nothing(site: Site) -> None:
    """Do nothing."""


def _no_credentials(site: Site) -> Mapping[str, str]:
    return {}


def _no_checks(site: Site) -> tuple[Check, ...]:
    return ()


def _no_units(site: Site) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """What any choice adds.

    + configuration: of the Hub, as data.
    + credentials: secrets that the Hub's unit is handed, by their names in the configuration.
    + lock: what the Hub's release needs for it, locks/hub/NAME.txt; None for nothing.
    + deploy: what it needs on the hub host, with packages of the distribution.
    + units: of systemd that the Hub's unit needs.
    + groups: of the Hub's user.
    + left: groups that it was in with an earlier version, and must not be in.
    + lifts: lines of the Hub's unit which lift a part of its hardening, each with its reason.
    + checks: what has to hold of it in a deployed service (deploys/verify.py).
    + grounds: what that rests on, for who looks for a cause (deploys/doctor.py).
    + tell: what else a verified service says about it.
    """

    configuration: Callable[[Site], Configuration]
    checks: Callable[[Site], tuple[Check, ...]] = _no_checks
    grounds: Callable[[Site], tuple[Check, ...]] = _no_checks
    tell: Deploy = _nothing
    credentials: Callable[[Site], Mapping[str, str]] = _no_credentials
    lock: str | None = None
    deploy: Deploy = _nothing
    units: Callable[[Site], tuple[str, ...]] = _no_units
    groups: Callable[[Site], tuple[str, ...]] = _no_units
    left: Callable[[Site], tuple[str, ...]] = _no_units
    lifts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Authenticator(Part):
    """How people log in.

    + authenticator_class: in the Hub's release, as MODULE.NAME.
    + page: the status of the login page (RFC 9110, 15), and a part of its text.
    + absent: the removal of all that `deploy` brings.
    """

    authenticator_class: str
    page: tuple[int, str] = (200, 'name="password"')
    absent: Deploy = _nothing


@dataclass(frozen=True)
class Network:
    """The users' servers as the host sees them: `gateway` is its own address among them.

    + chain: of the table filter, through which passes first what is forwarded for them.
    """

    bridge: str
    subnet: IPv4Network
    gateway: IPv4Address
    chain: str


@dataclass(frozen=True, kw_only=True)
class Spawner(Part):
    """How people's servers run.

    + network: a bridge of the host's, on which they are.
    + absent: the removal of all that `deploy` brings, and of the servers; people's files stay.
    """

    network: Callable[[Site], Network]
    absent: Deploy


@dataclass(frozen=True, kw_only=True)
class Proxy(Part):
    """What routes people to their servers.

    + unit: of systemd, of Hubstead alone.
    + user: who runs it; its home is /var/lib/USER.
    + api_port: on loopback, where the Hub tells it the routes.
    + absent: the removal of all that `deploy` brings.
    """

    unit: str
    user: str
    api_port: int
    absent: Deploy


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A language of people's servers: a block of their image; nothing for what that has anyway.

    + packages: of the image's Debian.
    + lock: Python packages, locks/singleuser/NAME.txt, which go with those of locks/singleuser.txt.
    + program: of programs/, what starts it; None where the packages say how.
    + title: what people read who choose a kernel for a notebook, where `program` starts it.
    + commands: of the shell, after the packages, as root.
    """

    packages: tuple[str, ...] = ()
    lock: str | None = None
    program: str | None = None
    title: str = ""
    commands: tuple[str, ...] = ()


P = TypeVar("P")


def _part(kind: type[P], choice: Choice, name: str) -> P:
    """The part of a module. Raises TypeError for one that is of another kind."""
    module = import_module(f"{_ROLES}.{choice.folder}.{name.replace('-', '_')}")
    if not isinstance(module.PART, kind):
        raise TypeError(f"{module.__name__}.PART is no {kind.__name__}")
    return module.PART


def authenticators() -> dict[str, Authenticator]:
    """Every way to log in, chosen or not, by name."""
    return {name: _part(Authenticator, AUTHENTICATORS, name) for name in AUTHENTICATORS.names}


def proxies() -> dict[str, Proxy]:
    """Every proxy, chosen or not, by name."""
    return {name: _part(Proxy, PROXIES, name) for name in PROXIES.names}


def spawners() -> dict[str, Spawner]:
    """Every spawner, chosen or not, by name."""
    return {name: _part(Spawner, SPAWNERS, name) for name in SPAWNERS.names}


def kernels(site: Site) -> dict[str, Kernel]:
    """Those that the settings choose and that the image does not have anyway, in their order."""
    found = {name: _part(Kernel, KERNELS, name) for name in site[HubSettings].hub_kernels}
    return {name: kernel for name, kernel in found.items() if kernel != Kernel()}


def proxy(site: Site) -> Proxy:
    """The one that the settings choose."""
    return _part(Proxy, PROXIES, site[EdgeSettings].proxy)


def ways(site: Site) -> tuple[Authenticator, ...]:
    """How people log in by the settings, in the order of the login page; mostly one way."""
    return tuple(_part(Authenticator, AUTHENTICATORS, way) for way in site[HubSettings].ways)


def login_page(site: Site) -> tuple[int, str]:
    """`Authenticator.page` of the whole: a form, where there is one, and else a button."""
    form = next((way for way in site[HubSettings].ways if way in FORMS), site[HubSettings].ways[0])
    return _part(Authenticator, AUTHENTICATORS, form).page


def login(site: Site) -> Configuration:
    """Which class of the Hub's release logs people in."""
    classes = [part.authenticator_class for part in ways(site)]
    if len(classes) == 1:
        return Configuration({"JupyterHub": {"authenticator_class": classes[0]}})
    return Configuration(
        {
            "JupyterHub": {
                "authenticator_class": "hubstead_hub.several.Several",
                # the login page, with a form and buttons
                "template_paths": [packaged("hubstead_hub", "several_templates")],
            },
            "Several": {"ways": [*map(list, zip(site[HubSettings].ways, classes, strict=True))]},
        }
    )


def spawner(site: Site) -> Spawner:
    """The one that the settings choose."""
    return _part(Spawner, SPAWNERS, site[HubSettings].hub_spawner)


def servers_network(site: Site) -> str:
    """The users' servers, for a form with a password.

    They reach the Hub's port too: their word on where a login comes from counts nothing.
    """
    return str(spawner(site).network(site).subnet)


def hub_url(site: Site) -> str:
    """Where the users' servers and the proxy find the Hub, without a path."""
    return f"http://{spawner(site).network(site).gateway}:{site[HubSettings].hub_api_port}"


def chosen(site: Site) -> tuple[Part, ...]:
    """All that the settings choose, in the order in which they are deployed."""
    return spawner(site), proxy(site), *ways(site)
