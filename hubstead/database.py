"""The databases: who connects to which, and how a service on the hub host reaches its own."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

from hubstead import certificates
from hubstead.site import Site

#: The directory of the server's Unix socket, in every distribution
SOCKETS = "/run/postgresql"
#: Role to the database that it connects to
ACCESS = {"jupyterhub": "jupyterhub", "userdb_owner": "userdb", "userdb_reader": "userdb"}
#: The same where people share a JupyterLab
LAB_ACCESS = {"userdb_owner": "userdb", "userdb_reader": "userdb", "userdb_login": "userdb"}
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


def databases(site: Site) -> dict[str, str]:
    """Role to the database that it connects to, for what people get."""
    return ACCESS if site.application == "jupyterhub" else LAB_ACCESS


def password(site: Site, role: str) -> str:
    """The password of a role."""
    return site.secrets.generated(f"postgres_{role}_password")


def conninfo(site: Site, role: str) -> str:
    """How a service on the hub host reaches its database (libpq's connection string)."""
    login = f"dbname={databases(site)[role]} user={role} password={_value(password(site, role))}"
    if not site.db_apart:
        return f"host={SOCKETS} {login}"
    root = certificates.root_of(site, site.db)
    # the clients of the users table bring timeouts of their own
    return f"host={site.db.address} {login} sslmode=verify-full sslrootcert={root}"


def _value(text: str) -> str:
    """A value in a connection string (libpq, "Keyword/Value Connection Strings")."""
    escaped = re.sub(r"['\\]", r"\\\g<0>", text)
    return f"'{escaped}'" if " " in text else escaped


def url(site: Site, role: str) -> str:
    """The same as a URL of SQLAlchemy, with timeouts where the server is on another host."""
    login = f"{role}:{quote(password(site, role), safe='')}"
    if not site.db_apart:
        return f"postgresql+psycopg://{login}@/{databases(site)[role]}?host={SOCKETS}"
    address = site.db.address
    where = f"[{address}]" if ":" in address else address
    options = urlencode({**REMOTE, "sslrootcert": certificates.root_of(site, site.db)})
    return f"postgresql+psycopg://{login}@{where}/{databases(site)[role]}?{options}"
