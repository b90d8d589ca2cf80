"""Run the role `python` alone."""

from hubstead.roles.machine.python import python
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, python)
