"""Run the role `resolver` alone."""

from hubstead.roles.resolver import resolver
from hubstead.roles.wanted import wants

if wants("resolver"):
    resolver()
