"""Run the role `jupyterhub` alone."""

from hubstead.roles.hub.jupyterhub import jupyterhub
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, jupyterhub)
