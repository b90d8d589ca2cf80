"""Run the role `jupyterlab` alone."""

from hubstead.roles.lab.jupyterlab import jupyterlab
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "jupyterlab"):
    jupyterlab(site)
