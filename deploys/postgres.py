"""Run the role `postgres` alone."""

from hubstead.roles.database.postgres import postgres
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, postgres)
