"""PostgreSQL: the server, and the roles and databases of the Hub and of the users table.

On the hub host it is reached by its Unix socket. On a host of its own it listens on TCP as well,
and lets in the Hub's addresses, over TLS: the certificate is from the host's own authority, and the
Hub verifies it.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

from pydantic import Field, field_validator
from pyinfra.api.deploy import deploy

from hubstead import secrets
from hubstead.operations import accounts, files, packages, postgres, units
from hubstead.render import render
from hubstead.roles import tls
from hubstead.roles.application import application
from hubstead.roles.base import address, distribution, machine, networks
from hubstead.settings import Settings, load
from hubstead.texts import is_access_rule, is_address, is_host_name
from hubstead.topology import tier_host

#: The directory of its Unix socket, in every distribution
SOCKETS = "/run/postgresql"
#: Role to the database that it connects to
ACCESS = {"jupyterhub": "jupyterhub", "userdb_owner": "userdb", "userdb_reader": "userdb"}
#: The same where people share a JupyterLab
LAB_ACCESS = {"userdb_owner": "userdb", "userdb_reader": "userdb", "userdb_login": "userdb"}
HOOK = f"{tls.INTERNAL}/hooks/postgresql"
#: What a client on another host says (libpq, "Parameter Key Words"). An unplugged server is noticed
#: after seconds, and not after the 15 minutes in which TCP would repeat itself; a pause of a minute
#: in which nobody asks anything costs no connection.
REMOTE = {
    "sslmode": "verify-full",
    "connect_timeout": "3",
    "tcp_user_timeout": "5000",
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "options": "-c statement_timeout=60s",
}


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


def shares_host() -> bool:
    """Whether the server is on the hub host."""
    return tier_host("db") is tier_host("hub")


def databases() -> dict[str, str]:
    """Role to the database that it connects to, for what people get."""
    return ACCESS if application() == "jupyterhub" else LAB_ACCESS


def _value(text: str) -> str:
    """A value in a connection string (libpq, "Keyword/Value Connection Strings")."""
    escaped = re.sub(r"['\\]", r"\\\g<0>", text)
    return f"'{escaped}'" if " " in text else escaped


def conninfo(role: str) -> str:
    """How a service on the hub host reaches its database (libpq's connection string)."""
    password = _value(secrets.generated(f"postgres_{role}_password"))
    login = f"dbname={databases()[role]} user={role} password={password}"
    if shares_host():
        return f"host={SOCKETS} {login}"
    server = tier_host("db")
    # the clients of the users table bring timeouts of their own
    return f"host={address(server)} {login} sslmode=verify-full sslrootcert={tls.root_of(server)}"


def database_url(role: str) -> str:
    """The same as a URL of SQLAlchemy, with timeouts where the server is on another host."""
    login = f"{role}:{quote(secrets.generated(f'postgres_{role}_password'), safe='')}"
    if shares_host():
        return f"postgresql+psycopg://{login}@/{databases()[role]}?host={SOCKETS}"
    server = tier_host("db")
    where = f"[{address(server)}]" if ":" in address(server) else address(server)
    options = urlencode({**REMOTE, "sslrootcert": tls.root_of(server)})
    return f"postgresql+psycopg://{login}@{where}/{databases()[role]}?{options}"


@deploy("postgres")
def install() -> None:
    settings = load(PostgresSettings)
    memory, server = machine().memory, distribution().postgres
    tuning = f"{server.configuration}/conf.d/hubstead.conf"
    access = f"{server.configuration}/pg_hba.conf"
    apart = not shares_host()
    hub = networks(tier_host("hub")) if apart else []

    packages.installed(name="Install PostgreSQL", packages=server.packages)
    if apart:
        accounts.member(
            name="Let PostgreSQL read the key of the host", user=server.user, group=tls.GROUP
        )
    files.present(
        name="Write its settings and access rules",
        entries={
            tuning: files.File(
                render(
                    "postgres",
                    "/etc/postgresql/VERSION/main/conf.d/hubstead.conf",
                    settings=settings,
                    tls=tls.INTERNAL if apart else None,
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
                    access=databases(),
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
        },
    )
    units.running(
        name="Run PostgreSQL",
        unit=server.unit,
        inputs=[tuning],
        reload_inputs=[access],
    )
    readers = ["userdb_reader"]
    if application() == "jupyterhub":
        postgres.login_role(
            name="Create the Hub's role",
            role="jupyterhub",
            password=secrets.generated("postgres_jupyterhub_password"),
        )
        postgres.database(
            name="Create the Hub's database", database="jupyterhub", owner="jupyterhub"
        )
    else:
        postgres.login_role(
            name="Create the login's role",
            role="userdb_login",
            password=secrets.generated("postgres_userdb_login_password"),
        )
        readers.append("userdb_login")
    postgres.login_role(
        name="Create the owner of the users table",
        role="userdb_owner",
        password=secrets.generated("postgres_userdb_owner_password"),
    )
    postgres.login_role(
        name="Create the reader of the users table",
        role="userdb_reader",
        password=secrets.generated("postgres_userdb_reader_password"),
    )
    postgres.database(
        name="Create the database of the users table",
        database="userdb",
        owner="userdb_owner",
        connect=readers,
    )
