"""Run the role `resolver` alone, where the settings want it."""

from hubstead.roles.resolver import resolver
from hubstead.roles.retire import wants

if wants("resolver"):
    resolver()
