"""Run the role `apache` alone."""

from hubstead.roles.edge.apache import apache
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, apache)
