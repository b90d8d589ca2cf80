"""Run the role `userdb` alone."""

from hubstead.roles.database.userdb import userdb
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, userdb)
