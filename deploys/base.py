"""Run the role `base` alone."""

from hubstead.roles.machine.base import base
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "base"):
    base(site)
