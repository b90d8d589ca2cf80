"""Run the role `python` alone."""

from hubstead.roles.machine.python import python
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "python"):
    python(site)
