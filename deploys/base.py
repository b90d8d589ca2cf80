"""Run the role `base` alone."""

from hubstead.roles.machine.base import base
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, base)
