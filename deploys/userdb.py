"""Run the role `userdb` alone."""

from hubstead.roles.database.userdb import userdb
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, userdb)
