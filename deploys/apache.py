"""Run the role `apache` alone."""

from hubstead.roles.edge.apache import apache
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, apache)
