"""Run the role `chp` alone."""

from hubstead.roles.chp import chp
from hubstead.roles.wanted import wants

if wants("chp"):
    chp()
