"""Run the role `jupyterlab` alone."""

from hubstead.roles.lab.jupyterlab import jupyterlab
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, jupyterlab)
