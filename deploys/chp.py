"""Run the role `chp` alone."""

from hubstead import parts
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, parts.proxy(site).deploy, "chp")
