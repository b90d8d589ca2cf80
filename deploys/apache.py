"""Run the role `apache` alone."""

from hubstead.roles.apache import apache
from hubstead.roles.wanted import wants

if wants("apache"):
    apache()
