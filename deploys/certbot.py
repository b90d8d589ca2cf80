"""Run the role `certbot` alone."""

from hubstead.roles.certbot import certbot
from hubstead.roles.wanted import wants

if wants("certbot"):
    certbot()
