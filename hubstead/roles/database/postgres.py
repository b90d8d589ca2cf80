"""PostgreSQL: the server, and the roles and databases of the Hub and of the users table.

One that was there before stays the owner's, with all that he has in it.

On the hub host it is reached by its Unix socket. On a host of its own it listens on TCP as well,
and lets in the Hub's addresses, over TLS: the certificate is from the host's own authority, and the
Hub verifies it.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, field_validator
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead import certificates, database, notes
from hubstead.distributions import Postgres
from hubstead.listeners import DATABASE_PORT
from hubstead.operations import accounts, files, packages, postgres_upgrade, units
from hubstead.operations import postgres as cluster
from hubstead.render import render
from hubstead.settings.model import Settings
from hubstead.site import Site, networks
from hubstead.texts import is_access_rule, is_address, is_host_name

HOOK = f"{certificates.INTERNAL}/hooks/postgresql"
#: What PostgreSQL shows on Debian where nobody has chosen a certificate (package ssl-cert)
SNAKEOIL = "/etc/ssl/certs/ssl-cert-snakeoil.pem"
#: Noted down where the cluster came with Hubstead, which then says all of its settings
CLUSTER = "postgres-cluster"
#: The settings that count in a cluster of the owner's as well
_OWNERS_TOO = {"postgres_hba", "postgres_upgrade"}
#: MiB that are to be free beside what an upgrade needs
_SPARE = 256


class PostgresSettings(Settings):
    """The database server; but for `postgres_hba`, where it came with Hubstead (beside.md)."""

    prefixes = ("postgres_",)

    postgres_shared_buffers: int | None = Field(
        None, ge=16, description="MiB of shared_buffers; by default 1/16 of the host's RAM."
    )
    postgres_max_connections: int = Field(100, ge=20, description="max_connections.")
    postgres_hba: list[str] = Field(
        [],
        description="Further lines of pg_hba.conf, before our own; for example "
        '"hostssl grades teacher 10.0.0.0/24 scram-sha-256".',
    )
    postgres_listen: list[str] = Field(
        [],
        description="Addresses to listen on beside the Unix socket; a line of `postgres_hba` must "
        "let somebody in there.",
    )
    postgres_upgrade: bool = Field(
        False,
        description="Whether a cluster that is from before the host's Debian was upgraded may be "
        "upgraded too, after a dump (debian.md).",
    )

    @field_validator("postgres_hba")
    @classmethod
    def _access_rules(cls, value: list[str]) -> list[str]:
        for line in value:
            if not is_access_rule(line):
                raise ValueError(
                    f"{line!r} is not one line of pg_hba.conf: TYPE DATABASE USER ADDRESS METHOD"
                )
        return value

    @field_validator("postgres_listen")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        for text in value:
            if text != "*" and not is_address(text) and not is_host_name(text.lower()):
                raise ValueError(f"{text!r} is not an address such as 10.0.0.5, nor *")
        return value

    def check(self) -> None:
        if self.postgres_listen and not self.postgres_hba:
            raise ValueError("`postgres_listen` without `postgres_hba` would let nobody in")


def _is_own(site: Site, found: cluster.FoundState) -> bool:
    """Whether the cluster comes, or came, with Hubstead; earlier versions wrote no note."""
    noted = CLUSTER in site.machine.roles or found.ours or found.whole
    return noted or not found.there


def _refuse_outdated(
    site: Site, former: Postgres, outdated: postgres_upgrade.OutdatedState, own: bool
) -> None:
    """Raises PyinfraError where a former release's cluster may not be upgraded, or cannot."""
    old, new = former.cluster, site.distribution.postgres.cluster
    found = (
        f"{host.name}: the PostgreSQL cluster {old} is from before the upgrade of Debian, and "
        f"Hubstead needs {new}; no host was touched."
    )
    if not site[PostgresSettings].postgres_upgrade:
        theirs = "" if own else " It was there before Hubstead: all databases in it move."
        raise PyinfraError(
            f"{found}{theirs} Run again with `--data postgres_upgrade=true`: that dumps it to "
            f"{postgres_upgrade.DUMPS}, upgrades it by pg_upgradecluster, and leaves {old} where "
            "it is, stopped."
        )
    if outdated.status != "online":
        raise PyinfraError(
            f"{found} It is {outdated.status}: start it, so that it can be dumped; that takes the "
            f"package {', '.join(former.packages)} of the former Debian."
        )
    if outdated.filled:
        raise PyinfraError(
            f"{found} {new} holds databases or roles already: dump it, remove it (pg_dropcluster), "
            "and run again."
        )
    needed = 2 * outdated.size + _SPARE
    if outdated.free < needed:
        raise PyinfraError(
            f"{found} Its dump and its copy take {needed} MiB, and {outdated.free} MiB are free."
        )


def _drop_in(server: Postgres) -> str:
    """Below /etc it would count as a reason to restart."""
    return f"/usr/local/lib/systemd/system/{server.unit}.d/hubstead.conf"


def _unfit(site: Site, server: Postgres, found: cluster.FoundState) -> Iterator[str]:
    """Why a cluster that was there before Hubstead cannot be the Hub's as well."""
    unread = DATABASE_PORT, "not to be read by pg_lsclusters"
    port, status = found.clusters.get(server.cluster, unread)
    if port != DATABASE_PORT:
        yield f"it has port {port}, and Hubstead asks at {DATABASE_PORT}"
    if status != "online":
        yield f"it is {status}: start it, so that its roles can be looked at"
    elif not found.answers:
        yield (
            "it does not let root in as the user postgres: pg_hba.conf needs the line `local "
            "postgres postgres peer`"
        )
    for key in sorted(site[PostgresSettings].model_fields_set - _OWNERS_TOO):
        yield f"its settings are yours: remove `{key}`, and set it in {server.configuration}"
    if not found.access:
        taken = host.get_fact(cluster.Cluster)
        access = database.databases(site)
        for role in sorted({*access} & {*taken.roles}):
            yield f"it has a role {role} already, which would be Hubstead's: rename it"
        for each in sorted({*access.values()} & {*taken.databases}):
            yield f"it has a database {each} already, which would be Hubstead's: rename it"
    if not site.db_apart:
        return
    listens = found.settings.get("listen_addresses", "localhost")
    if {each.strip() for each in listens.split(",")} <= {"", "localhost", "127.0.0.1", "::1"}:
        yield (
            f"it has listen_addresses = '{listens}', where the Hub does not reach it: set it to "
            "'*', say, once no line of pg_hba.conf lets in whom you do not want"
        )
    certificate = found.settings.get("ssl_cert_file", SNAKEOIL)
    if certificate != SNAKEOIL:
        yield (
            f"it shows the certificate {certificate}, and the Hub verifies that of the host's own "
            "authority: take another host for the group `db`"
        )


def _refuse_unfit(site: Site, server: Postgres, found: cluster.FoundState) -> None:
    """Raises PyinfraError where a cluster of the owner's cannot be the Hub's as well."""
    for reason in _unfit(site, server, found):
        raise PyinfraError(
            f"{host.name}: the PostgreSQL cluster {server.cluster} was there before Hubstead, and "
            f"cannot serve it as well; no host was touched. The reason: {reason}."
        )


def _refuse_another(site: Site, found: cluster.FoundState) -> None:
    """Raises PyinfraError where the new cluster would get another port than Hubstead asks at."""
    for name, (port, _) in found.clusters.items():
        if port == DATABASE_PORT:
            raise PyinfraError(
                f"{host.name} has a PostgreSQL cluster {name} at port {port}, and Hubstead needs "
                f"{site.distribution.postgres.cluster} there; no host was touched. Give that one "
                "another port (postgresql.conf), upgrade it (pg_upgradecluster), or take another "
                "host for the group `db`."
            )
    holders = site.machine.listeners.get(DATABASE_PORT)
    if holders:
        raise PyinfraError(
            f"{host.name}: port {DATABASE_PORT} is taken by {', '.join(map(str, holders))}, and "
            "PostgreSQL would get another, where Hubstead does not ask; no host was touched. Stop "
            "it, move it, or take another host for the group `db`."
        )


@deploy("postgres")
def postgres(site: Site) -> None:
    settings = site[PostgresSettings]
    memory, server = site.machine.memory, site.distribution.postgres
    former = {each.version: each for each in server.former}
    outdated = host.get_fact(postgres_upgrade.Outdated, server.version, [*former])
    # the one that has the data
    present = former[outdated.version] if outdated.pending(DATABASE_PORT) else server
    found = host.get_fact(cluster.Found, present.configuration)
    own = _is_own(site, found)
    if present is not server and not outdated.begun:
        _refuse_outdated(site, present, outdated, own)
    if own:
        if not found.there:
            _refuse_another(site, found)
        notes.claim(site, CLUSTER)
    elif not outdated.begun:
        _refuse_unfit(site, present, found)
    tuning = f"{server.configuration}/conf.d/hubstead.conf"
    drop_in = _drop_in(server)
    apart = site.db_apart
    hub = networks(site, site.hub) if apart else []

    packages.installed(name="Install PostgreSQL", packages=server.packages)
    if present is not server:
        postgres_upgrade.upgraded(
            name="Upgrade its cluster",
            former=present.version,
            version=server.version,
            port=DATABASE_PORT,
        )
    cluster.whole(name="Make its cluster whole", version=server.version)
    if apart:
        accounts.member(
            name="Let PostgreSQL read the key of the host",
            user=server.user,
            group=certificates.GROUP,
        )
    files.present(
        name="Write its settings",
        entries={
            tuning: files.File(
                render(
                    "postgres",
                    "/etc/postgresql/VERSION/main/conf.d/"
                    + ("hubstead.conf" if own else "beside.conf"),
                    settings=settings,
                    tls=certificates.INTERNAL if apart else None,
                    shared_buffers=settings.postgres_shared_buffers
                    or min(max(memory // 16, 32), 2048),
                    cache=max(memory // 4, 128),
                )
            )
            if own or apart
            else None,
            HOOK: files.File(
                "#!/bin/sh\n# Written by Hubstead.\n"
                f"systemctl try-reload-or-restart {server.unit}\n",
                mode="755",
            )
            if apart
            else None,
            drop_in.rsplit("/", 1)[0]: files.Directory(),
            drop_in: files.File(
                render(
                    "postgres",
                    "/usr/local/lib/systemd/system/postgresql@VERSION-main.service.d/hubstead.conf",
                    unit=server.unit,
                )
            ),
        },
    )
    units.extended(name="Have it come back when it is killed", unit=server.unit, drop_in=drop_in)
    access = database.databases(site)
    rules = {
        file: render(
            "postgres",
            f"/etc/postgresql/VERSION/main/{file}",
            lines=settings.postgres_hba,
            access=access,
            databases=",".join(sorted(set(access.values()))),
            roles=",".join(sorted(access)),
            apart=apart,
            hub=hub,
        )
        for file in ("pg_hba.conf", "pg_hba.conf.default")
    }
    cluster.let_in(
        name="Write its access rules",
        configuration=server.configuration,
        lines=rules["pg_hba.conf"],
        default=rules["pg_hba.conf.default"],
    )
    units.running(
        name="Run PostgreSQL",
        unit=server.unit,
        packaged=True,
        inputs=[tuning],
        reload_inputs=[f"{server.configuration}/pg_hba.conf"],
    )
    readers = ["userdb_reader"]
    if site.application == "jupyterhub":
        cluster.login_role(
            name="Create the Hub's role",
            role="jupyterhub",
            password=database.password(site, "jupyterhub"),
        )
        cluster.database(
            name="Create the Hub's database", database="jupyterhub", owner="jupyterhub"
        )
    else:
        cluster.login_role(
            name="Create the login's role",
            role="userdb_login",
            password=database.password(site, "userdb_login"),
        )
        readers.append("userdb_login")
    cluster.login_role(
        name="Create the owner of the users table",
        role="userdb_owner",
        password=database.password(site, "userdb_owner"),
    )
    cluster.login_role(
        name="Create the reader of the users table",
        role="userdb_reader",
        password=database.password(site, "userdb_reader"),
    )
    cluster.database(
        name="Create the database of the users table",
        database="userdb",
        owner="userdb_owner",
        connect=readers,
    )


@deploy("postgres")
def absent(site: Site) -> None:
    """Have it serve nobody on other hosts; the cluster stays, with roles and databases."""
    server = site.distribution.postgres
    configuration = f"{server.configuration}/conf.d"
    own = CLUSTER in site.machine.roles
    files.present(
        name="Remove its settings",
        entries={
            # with the key of the host's own authority, which goes
            **({f"{configuration}/hubstead.conf": None} if site.db_apart else {}),
            HOOK: None,
            _drop_in(server).rpartition("/")[0]: None,
        },
    )
    if site.db_apart:
        accounts.outside(
            name="Let it read no key of ours",
            user=server.user,
            group=certificates.GROUP,
            keeper=configuration,
        )
    units.running(
        name="Run PostgreSQL without them",
        unit=server.unit,
        packaged=True,
        inputs=[configuration] if own else [],
        reload_inputs=[] if own else [configuration],
    )
