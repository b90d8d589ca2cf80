"""Run the role `firewall` alone."""

from hubstead.roles.machine.firewall import firewall
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, firewall)
