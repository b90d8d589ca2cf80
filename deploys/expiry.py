"""Run the role `expiry` alone."""

from hubstead.roles.expiry import expiry
from hubstead.roles.wanted import wants

if wants("expiry"):
    expiry()
