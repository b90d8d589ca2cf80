"""Run the role `jupyterhub` alone."""

from hubstead.roles.jupyterhub import jupyterhub

jupyterhub()
