"""Check that the deployed service answers; changes nothing."""

from hubstead.roles.care.verify import verify
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, verify)
