"""PostgreSQL: the server, and the roles and databases of the Hub and of the users table."""

from __future__ import annotations

from pydantic import Field
from pyinfra.api.deploy import deploy

from hubstead import secrets
from hubstead.operations import files, packages, postgres, units
from hubstead.render import render
from hubstead.roles.base import machine
from hubstead.settings import Settings, load

#: The version that each Debian release ships
DISTRIBUTED = {"12": 15, "13": 17}
#: The directory of its Unix socket
SOCKETS = "/run/postgresql"


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

    def check(self) -> None:
        if self.postgres_listen and not self.postgres_hba:
            raise ValueError("`postgres_listen` without `postgres_hba` would let nobody in")


def conninfo(role: str, database: str) -> str:
    """How a service on the hub host reaches its database (libpq's connection string)."""
    password = secrets.generated(f"postgres_{role}_password")
    return f"host={SOCKETS} dbname={database} user={role} password={password}"


def database_url(role: str, database: str) -> str:
    """The same as a URL of SQLAlchemy."""
    password = secrets.generated(f"postgres_{role}_password")
    return f"postgresql+psycopg://{role}:{password}@/{database}?host={SOCKETS}"


@deploy("postgres")
def install() -> None:
    settings = load(PostgresSettings)
    here = machine()
    version = DISTRIBUTED[here.version]
    configuration = f"/etc/postgresql/{version}/main"
    tuning = f"{configuration}/conf.d/hubstead.conf"
    access = f"{configuration}/pg_hba.conf"

    packages.installed(name="Install PostgreSQL", packages=[f"postgresql-{version}"])
    files.present(
        name="Write its settings and access rules",
        entries={
            tuning: files.File(
                render(
                    "postgres",
                    "/etc/postgresql/VERSION/main/conf.d/hubstead.conf",
                    settings=settings,
                    shared_buffers=settings.postgres_shared_buffers
                    or min(max(here.memory // 16, 32), 2048),
                    cache=max(here.memory // 4, 128),
                )
            ),
            access: files.File(
                render(
                    "postgres",
                    "/etc/postgresql/VERSION/main/pg_hba.conf",
                    lines=settings.postgres_hba,
                ),
                mode="640",
                user="postgres",
                group="postgres",
            ),
        },
    )
    units.running(
        name="Run PostgreSQL",
        unit=f"postgresql@{version}-main.service",
        inputs=[tuning],
        reload_inputs=[access],
    )
    postgres.login_role(
        name="Create the Hub's role",
        role="jupyterhub",
        password=secrets.generated("postgres_jupyterhub_password"),
    )
    postgres.database(name="Create the Hub's database", database="jupyterhub", owner="jupyterhub")
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
        connect=["userdb_reader"],
    )
