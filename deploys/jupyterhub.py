"""Run the role `jupyterhub` alone."""

from hubstead.roles.hub.jupyterhub import jupyterhub
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "jupyterhub"):
    jupyterhub(site)
