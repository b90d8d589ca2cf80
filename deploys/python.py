"""Run the role `python` alone."""

from hubstead.roles.python import python
from hubstead.roles.wanted import wants

if wants("python"):
    python()
