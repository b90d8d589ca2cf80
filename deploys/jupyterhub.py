"""Run the role `jupyterhub` alone."""

from hubstead.roles.jupyterhub import jupyterhub
from hubstead.topology import plays

if plays("hub"):
    jupyterhub()
