"""Run the role `jupyterlab` alone."""

from hubstead.roles.jupyterlab import jupyterlab

jupyterlab()
