"""Run the role `pam` alone: what asks PAM for the Hub."""

from hubstead import parts
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, parts.authenticators()["pam"].deploy, "pam")
