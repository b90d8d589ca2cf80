"""Run the role `postgres` alone."""

from hubstead.roles.database.postgres import postgres
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, postgres)
