"""Run the role `userdb` alone."""

from hubstead.roles.userdb import userdb

userdb()
