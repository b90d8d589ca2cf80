"""hub_schema: how the Hub's database is said to PostgreSQL's own programs."""

from __future__ import annotations

import pytest

from programs.hub_schema import client


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        (
            "postgresql+psycopg://jupyterhub:p%40ss@/jupyterhub?host=/run/postgresql",
            "postgresql://jupyterhub@/jupyterhub?host=%2Frun%2Fpostgresql",
        ),
        (
            "postgresql+psycopg://jupyterhub:p%40ss@[2001:db8::5]/jupyterhub?sslmode=verify-full"
            "&options=-c+statement_timeout%3D60s&sslrootcert=%2Fetc%2Fa+b.pem",
            "postgresql://jupyterhub@[2001:db8::5]/jupyterhub?sslmode=verify-full"
            "&sslrootcert=%2Fetc%2Fa%20b.pem",
        ),
    ],
)
def test_the_password_is_in_the_environment_alone(url: str, plain: str) -> None:
    where, secret = client(url)
    assert (where, secret["PGPASSWORD"]) == (plain, "p@ss")
