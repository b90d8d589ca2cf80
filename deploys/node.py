"""Run the role `node` alone."""

from hubstead.roles.node import node

node()
