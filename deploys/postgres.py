"""Run the role `postgres` alone."""

from hubstead.roles.postgres import install
from hubstead.roles.wanted import wants

if wants("postgres"):
    install()
