"""Run the role `systemd` alone."""

from hubstead import parts
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, parts.spawner(site).deploy, "systemd")
