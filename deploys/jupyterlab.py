"""Run the role `jupyterlab` alone, where the settings want it."""

from hubstead.roles.jupyterlab import jupyterlab
from hubstead.roles.retire import wants

if wants("jupyterlab"):
    jupyterlab()
