"""Run the role `jupyterhub` alone."""

from hubstead.roles.hub.jupyterhub import jupyterhub
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, jupyterhub)
