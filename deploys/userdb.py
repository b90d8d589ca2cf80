"""Run the role `userdb` alone."""

from hubstead.roles.database.userdb import userdb
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "userdb"):
    userdb(site)
