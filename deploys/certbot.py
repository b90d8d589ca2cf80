"""Run the role `certbot` alone, where the settings want it."""

from hubstead.roles.certbot import certbot
from hubstead.roles.retire import wants

if wants("certbot"):
    certbot()
