"""Run the role `traefik` alone."""

from hubstead.roles.traefik import traefik

traefik()
