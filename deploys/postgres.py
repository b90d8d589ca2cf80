"""Run the role `postgres` alone."""

from hubstead.roles.postgres import install
from hubstead.topology import plays

if plays("db"):
    install()
