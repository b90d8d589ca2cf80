"""Run the role `postgres` alone."""

from hubstead.roles.postgres import install

install()
