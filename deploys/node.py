"""Run the role `node` alone."""

from hubstead.roles.node import node
from hubstead.roles.wanted import wants

if wants("node"):
    node()
