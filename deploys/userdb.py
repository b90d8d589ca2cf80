"""Run the role `userdb` alone."""

from hubstead.roles.userdb import userdb
from hubstead.roles.wanted import wants

if wants("userdb"):
    userdb()
