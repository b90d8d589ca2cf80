"""Run the role `expiry` alone."""

from hubstead.roles.certificates.expiry import expiry
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, expiry)
