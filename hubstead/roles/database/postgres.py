"""PostgreSQL: the server, and the roles and databases of the Hub and of the users table.

On the hub host it is reached by its Unix socket. On a host of its own it listens on TCP as well,
and lets in the Hub's addresses, over TLS: the certificate is from the host's own authority, and the
Hub verifies it.
"""

from __future__ import annotations

from pydantic import Field, field_validator
from pyinfra.api.deploy import deploy

from hubstead import certificates, database
from hubstead.operations import accounts, files, packages, units
from hubstead.operations import postgres as cluster
from hubstead.render import render
from hubstead.settings.model import Settings
from hubstead.site import Site, networks
from hubstead.texts import is_access_rule, is_address, is_host_name

HOOK = f"{certificates.INTERNAL}/hooks/postgresql"


class PostgresSettings(Settings):
    """The database server."""

    prefixes = ("postgres_",)

    postgres_shared_buffers: int | None = Field(
        None, ge=16, description="MiB of shared_buffers; by default 1/16 of the host's RAM."
    )
    postgres_max_connections: int = Field(100, ge=20, description="max_connections.")
    postgres_hba: list[str] = Field(
        [],
        description="Further lines of pg_hba.conf, before ours; for example "
        '"hostssl grades teacher 10.0.0.0/24 scram-sha-256".',
    )
    postgres_listen: list[str] = Field(
        [],
        description="Addresses to listen on beside the Unix socket; a line of `postgres_hba` must "
        "let somebody in there.",
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


@deploy("postgres")
def postgres(site: Site) -> None:
    settings = site[PostgresSettings]
    memory, server = site.machine.memory, site.distribution.postgres
    tuning = f"{server.configuration}/conf.d/hubstead.conf"
    access = f"{server.configuration}/pg_hba.conf"
    # below /etc it would count as a reason to restart
    drop_in = f"/usr/local/lib/systemd/system/{server.unit}.d/hubstead.conf"
    apart = site.db_apart
    hub = networks(site, site.hub) if apart else []

    packages.installed(name="Install PostgreSQL", packages=server.packages)
    cluster.whole(name="Make its cluster whole", version=server.version)
    if apart:
        accounts.member(
            name="Let PostgreSQL read the key of the host",
            user=server.user,
            group=certificates.GROUP,
        )
    files.present(
        name="Write its settings and access rules",
        entries={
            tuning: files.File(
                render(
                    "postgres",
                    "/etc/postgresql/VERSION/main/conf.d/hubstead.conf",
                    settings=settings,
                    tls=certificates.INTERNAL if apart else None,
                    shared_buffers=settings.postgres_shared_buffers
                    or min(max(memory // 16, 32), 2048),
                    cache=max(memory // 4, 128),
                )
            ),
            access: files.File(
                render(
                    "postgres",
                    "/etc/postgresql/VERSION/main/pg_hba.conf",
                    lines=settings.postgres_hba,
                    access=database.databases(site),
                    apart=apart,
                    hub=hub,
                ),
                mode="640",
                user=server.user,
                group=server.user,
            ),
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
    units.running(
        name="Run PostgreSQL",
        unit=server.unit,
        inputs=[tuning],
        reload_inputs=[access],
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
