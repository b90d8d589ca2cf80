"""Run the role `nginx` alone."""

from hubstead.roles.edge.nginx import nginx
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, nginx)
