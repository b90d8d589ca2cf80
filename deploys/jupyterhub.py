"""Run the role `jupyterhub` alone."""

from hubstead.roles.jupyterhub import jupyterhub
from hubstead.roles.wanted import wants

if wants("jupyterhub"):
    jupyterhub()
