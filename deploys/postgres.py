"""Run the role `postgres` alone."""

from hubstead.roles.database.postgres import postgres
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "postgres"):
    postgres(site)
