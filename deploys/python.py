"""Run the role `python` alone."""

from hubstead.roles.machine.python import python
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, python)
