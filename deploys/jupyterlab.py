"""Run the role `jupyterlab` alone."""

from hubstead.roles.jupyterlab import jupyterlab
from hubstead.roles.wanted import wants

if wants("jupyterlab"):
    jupyterlab()
