"""Run the role `base` alone."""

from hubstead.roles.machine.base import base
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, base)
