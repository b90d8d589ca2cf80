"""Run the role `traefik` alone."""

from hubstead.roles.retire import wants
from hubstead.roles.traefik import traefik

if wants("traefik"):
    traefik()
