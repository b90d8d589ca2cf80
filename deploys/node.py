"""Run the role `node` alone."""

from hubstead.roles.machine.node import node
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, node)
