"""Run the role `nginx` alone."""

from hubstead.roles.nginx import nginx
from hubstead.roles.wanted import wants

if wants("nginx"):
    nginx()
