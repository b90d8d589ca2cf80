"""Run the role `certbot` alone."""

from hubstead.roles.certificates.certbot import certbot
from hubstead.site import here
from hubstead.wanted import if_wanted

site = here()

if_wanted(site, certbot)
