"""Run the role `chp` alone."""

from hubstead.roles.chp import chp
from hubstead.roles.retire import wants

if wants("chp"):
    chp()
