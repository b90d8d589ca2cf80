"""Run the role `certbot` alone."""

from hubstead.roles.certificates.certbot import certbot
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, certbot)
