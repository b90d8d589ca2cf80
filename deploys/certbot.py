"""Run the role `certbot` alone."""

from hubstead.roles.certificates.certbot import certbot
from hubstead.site import here
from hubstead.wanted import wants

site = here()

if wants(site, "certbot"):
    certbot(site)
