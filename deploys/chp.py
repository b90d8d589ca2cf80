"""Run the role `chp` alone."""

from hubstead import parts
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "chp"):
    parts.proxy(site).deploy(site)
