"""Run the role `apache` alone, where the settings want it."""

from hubstead.roles.apache import apache
from hubstead.roles.retire import wants

if wants("apache"):
    apache()
