"""Run the role `saml` alone: what checks a SAML provider's signatures."""

from hubstead import parts
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, parts.authenticators()["saml"].deploy, "saml")
