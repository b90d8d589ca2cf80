"""Run the role `nginx` alone."""

from hubstead.roles.edge.nginx import nginx
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, nginx)
