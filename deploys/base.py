"""Run the role `base` alone."""

from hubstead.roles.base import base
from hubstead.roles.wanted import wants

if wants("base"):
    base()
