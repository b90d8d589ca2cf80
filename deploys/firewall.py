"""Run the role `firewall` alone."""

from hubstead.roles.machine.firewall import firewall
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, firewall)
