"""Run the role `jupyterlab` alone."""

from hubstead.roles.lab.jupyterlab import jupyterlab
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, jupyterlab)
