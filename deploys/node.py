"""Run the role `node` alone."""

from hubstead.roles.node import node
from hubstead.topology import plays

if plays("hub"):
    node()
