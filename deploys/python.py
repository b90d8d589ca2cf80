"""Run the role `python` alone."""

from hubstead.roles.python import python

python()
