"""Firewall: what the host lets in, and what the users' servers reach."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead import hub, parts
from hubstead.listeners import Reach, listeners
from hubstead.operations import accounts, files, packages, units
from hubstead.operations import firewall as chains
from hubstead.operations.addresses import Connection, Resolvers, SshConnection
from hubstead.operations.firewall import (
    EVERYONE,
    LINK_LOCAL,
    Network,
    Opening,
    Policy,
    Private,
    Users,
)
from hubstead.operations.other_firewalls import OtherFirewalls, Others
from hubstead.programs import program
from hubstead.render import render
from hubstead.settings.firewall import FirewallSettings
from hubstead.site import Site, networks

UNIT, DOCKER_UNIT = "hubstead-firewall.service", "hubstead-firewall-docker.service"
SYSTEM = "/etc/systemd/system"
DIRECTORY = "/etc/hubstead/firewall"


class LockOutError(PyinfraError):
    """Rules that would end the connection which brings them."""


def refuse_lock_out(settings: FirewallSettings, connection: Connection | None, name: str) -> int:
    """The port of SSH on the host `name`.

    Raises LockOutError when the settings would shut the run's own connection out.
    """
    if connection is None:
        return settings.firewall_ssh_port or 22
    port = settings.firewall_ssh_port or connection.port
    if port != connection.port:
        raise LockOutError(
            f"`firewall_ssh_port` = {port} would lock this run out of {name}, which it reached on "
            f"port {connection.port}; no host was touched. Set `firewall_ssh_port` to "
            f"{connection.port}, or remove it and let sshd move first."
        )
    if not any(connection.client in network for network in settings.firewall_ssh_from):
        networks = ", ".join(map(str, settings.firewall_ssh_from)) or "no network"
        raise LockOutError(
            f"`firewall_ssh_from` = {networks} would lock this run out of {name}, which sees it "
            f"come from {connection.client}; no host was touched. Add "
            f'"{connection.client}/{connection.client.max_prefixlen}" or its network to '
            "`firewall_ssh_from`, or run from an address that it has."
        )
    return port


def _sources(site: Site, reach: tuple[Reach, ...]) -> tuple[Network, ...]:
    """Who may connect from other hosts."""
    if "everyone" in reach:
        return EVERYONE
    tiers = {"edge": site.edge, "hub": site.hub}
    return tuple(net for tier in reach if tier in tiers for net in networks(site, tiers[tier]))


def _openings(site: Site, ssh_port: int) -> list[Opening]:
    settings = site[FirewallSettings]
    openings = [Opening(ssh_port, "tcp", tuple(settings.firewall_ssh_from))]
    for listener in listeners(site):
        if sources := _sources(site, listener.reach):
            limit = settings.firewall_connections if "everyone" in listener.reach else 0
            openings.append(Opening(listener.port, "tcp", sources, limit))
    openings += [
        Opening(port.port, port.protocol, tuple(port.sources)) for port in settings.firewall_open
    ]
    return openings


def _users(site: Site) -> Users:
    settings, network = site[FirewallSettings], parts.spawner(site).network(site)
    others = [net for other in site.others for net in networks(site, other)]
    internet = settings.firewall_user_internet
    resolvers: list[IPv4Address] = host.get_fact(Resolvers) if internet else []
    return Users(
        bridge=network.bridge,
        gateway=network.gateway,
        gateway_ports=tuple(each.port for each in listeners(site) if "servers" in each.reach),
        internet=internet,
        never=(LINK_LOCAL, *(net for net in others if isinstance(net, IPv4Network))),
        allow=tuple(settings.firewall_user_allow),
        deny=tuple(settings.firewall_user_deny),
        resolvers=tuple(resolvers),
        connections=settings.firewall_user_connections,
        chain=network.chain,
    )


def _private(site: Site) -> Iterator[Private]:
    for each in listeners(site):
        if each.accounts is not None:
            yield Private(IPv4Address(each.address), each.port, each.accounts)


def _refuse_other_firewalls(site: Site) -> None:
    """Raises PyinfraError where another firewall would shut people out, or be set aside by ours."""
    others: OtherFirewalls = host.get_fact(Others)
    ports = sorted({each.port for each in listeners(site) if _sources(site, each.reach)})
    wanted = ", ".join(map(str, ports))
    stay = f"or set `firewall` to False, and let in {wanted} yourself (docs/firewall.md)"
    if others.firewalld:
        raise PyinfraError(
            f"{host.name}: firewalld is at work there, and drops what it does not know whatever "
            "other rules say; nothing was changed. Put what it lets in into `firewall_open` and "
            f"stop it (systemctl disable --now firewalld), {stay}."
        )
    for chain in others.chains:
        if missing := [str(port) for port in ports if port not in chain.accepted]:
            place = f"{chain.family} {chain.table} {chain.name}"
            servers = ""
            if site.serves("jupyterhub"):
                servers = f" and what comes from {parts.spawner(site).network(site).bridge}"
            raise PyinfraError(
                f"{host.name}: nftables' chain {place} drops what no rule of its table accepts, "
                f"and none accepts port {', '.join(missing)}; nothing was changed. Accept TCP "
                f"{wanted}{servers} there."
            )
    if others.ufw is not None and not host.get_fact(chains.Firewall).ours:
        known = ", ".join(others.ufw) or "nothing"
        raise PyinfraError(
            f"{host.name}: ufw is on and lets in {known}; Hubstead's rules would come before its "
            "own, and nothing was changed. Put what shall stay open into `firewall_open` and "
            f"switch it off (ufw disable), {stay}."
        )


def _refuse_to_shut(site: Site, policy: Policy) -> None:
    """Raises PyinfraError where the first rules would shut what others reach by now.

    What Docker publishes goes past these rules.
    """
    if host.get_fact(chains.Firewall).ours:
        return
    known = {each.port for each in listeners(site)}
    known |= {each.port for each in policy.openings if each.protocol == "tcp"}
    shut = {
        port: [each for each in site.machine.listeners[port] if each.process != "docker-proxy"]
        for port in sorted(site.machine.outward - known)
    }
    if shut := {port: holders for port, holders in shut.items() if holders}:
        found = "; ".join(f"{port}: {', '.join(map(str, each))}" for port, each in shut.items())
        lines = ", ".join(f'{{"port": {port}, "from": []}}' for port in shut)
        raise PyinfraError(
            f"{host.name}: other hosts can reach what listens there ({found}), and the firewall "
            "would shut it; nothing was changed. Say in `firewall_open` who may connect; for "
            f"nobody but the host itself: firewall_open = [{lines}]."
        )


def policy(site: Site) -> Policy:
    """What the settings and the topology mean for the host at hand. Raises LockOutError."""
    connection = host.get_fact(SshConnection, _sudo=False)
    ssh_port = refuse_lock_out(site[FirewallSettings], connection, host.name)
    users = _users(site) if site.serves("jupyterhub") else None
    return Policy(tuple(_openings(site, ssh_port)), users, tuple(_private(site)))


def _yes(connections: int) -> str:
    return f"yes, {connections} at once from one address" if connections else "yes"


def table(site: Site, policy: Policy) -> list[str]:
    """A policy for a person: who reaches what, a line each, in the order that decides."""
    units = {each.port: each.unit for each in listeners(site)}
    rows = [("FROM", "TO", "")]
    for opening in policy.openings:
        everyone = opening.sources == EVERYONE
        sources = "everyone" if everyone else ", ".join(map(str, opening.sources)) or "nobody"
        name = units.get(opening.port, "")
        to = f"{opening.protocol} {opening.port} {name}".strip()
        rows.append((sources, to, _yes(opening.connections)))
    rows.append(("everyone", "anything else, but ping", "dropped"))
    if users := policy.users:
        servers = f"servers on {users.bridge}"
        ports = [f"tcp {port} {units.get(port, '')}" for port in users.gateway_ports]
        reached = [(f"{users.gateway} {port}", _yes(users.connections)) for port in ports]
        reached += [("the host otherwise", "no"), ("each other", "no")]
        reached += [(f"{resolver} port 53", "yes") for resolver in users.resolvers]
        reached += [(str(network), "never") for network in users.never]
        reached += [(str(network), "yes") for network in users.allow]
        reached += [(str(network), "no") for network in users.deny]
        reached += [("the internet", "yes" if users.internet else "no"), ("IPv6", "no")]
        rows += [(servers, to, answer) for to, answer in reached]
        rows.append(("everyone", servers, "dropped"))
    for private in policy.private:
        who = f"{', '.join(private.accounts) or 'no account'} of the host"
        to = f"{private.address} tcp {private.port} {units.get(private.port, '')}"
        rows.append((who, to.strip(), "nobody else"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip() for row in rows]


@deploy("firewall")
def firewall(site: Site) -> None:
    if not site[FirewallSettings].firewall:
        absent()
        return
    _refuse_other_firewalls(site)
    intended = policy(site)
    _refuse_to_shut(site, intended)
    v4, v6 = chains.rules(intended)

    if site.serves("jupyterhub"):
        # the rules name them
        for user in (hub.USER, parts.proxy(site).user):
            accounts.system_user(name=f"Create the user {user}", user=user, home=f"/var/lib/{user}")
    packages.installed(name="Install iptables", packages=site.distribution.iptables_packages)
    files.present(
        name="Write the firewall's script and units",
        entries={
            "/etc/hubstead": files.Directory(),
            DIRECTORY: files.Directory(),
            "/usr/local/lib/hubstead": files.Directory(),
            chains.APPLY: files.File(program("firewall-apply.sh"), mode="755"),
            f"{SYSTEM}/{UNIT}": files.File(render("firewall", f"{SYSTEM}/{UNIT}")),
        },
    )
    chains.enforced(name="Enforce the firewall's rules", v4=v4, v6=v6)
    units.running(name="Enforce them at boot", unit=UNIT)
    if intended.users and intended.users.chain != "DOCKER-USER":
        # what an owner's Docker puts before ours there is about its own networks alone
        units.stopped(name="Leave Docker's starts alone", unit=DOCKER_UNIT)
        files.present(
            name="Remove what enforced them then", entries={f"{SYSTEM}/{DOCKER_UNIT}": None}
        )
    elif intended.users:
        files.present(
            name="Write what enforces them in front of Docker's",
            entries={
                f"{SYSTEM}/{DOCKER_UNIT}": files.File(render("firewall", f"{SYSTEM}/{DOCKER_UNIT}"))
            },
        )
        units.running(name="Enforce them when Docker has started", unit=DOCKER_UNIT)


def absent() -> None:
    """Remove the rules and what enforces them."""
    units.stopped(name="Stop enforcing the firewall's rules at boot", unit=UNIT)
    units.stopped(name="Stop enforcing them when Docker starts", unit=DOCKER_UNIT)
    chains.absent(name="Remove the firewall's rules", script=program("firewall-apply.sh"))
    files.present(
        name="Remove the firewall's files",
        entries={
            f"{SYSTEM}/{UNIT}": None,
            f"{SYSTEM}/{DOCKER_UNIT}": None,
            chains.APPLY: None,
            DIRECTORY: None,
        },
    )
