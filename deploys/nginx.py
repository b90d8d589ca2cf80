"""Run the role `nginx` alone, where the settings want it."""

from hubstead.roles.nginx import nginx
from hubstead.roles.retire import wants

if wants("nginx"):
    nginx()
