"""Run the role `userdb` alone."""

from hubstead.roles.userdb import userdb
from hubstead.topology import plays

if plays("hub"):
    userdb()
