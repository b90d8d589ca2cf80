"""Run the role `traefik` alone."""

from hubstead.roles.traefik import traefik
from hubstead.roles.wanted import wants

if wants("traefik"):
    traefik()
