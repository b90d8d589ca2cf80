"""Run the role `docker` alone."""

from hubstead import parts
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "docker"):
    parts.spawner(site).deploy(site)
