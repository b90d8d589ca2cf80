"""Run the role `apache` alone."""

from hubstead.roles.edge.apache import apache
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "apache"):
    apache(site)
