"""Run the role `traefik` alone."""

from hubstead import parts
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "traefik"):
    parts.proxy(site).deploy(site)
