"""Run the role `expiry` alone."""

from hubstead.roles.certificates.expiry import expiry
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, expiry)
