"""Run the role `firewall` alone."""

from hubstead.roles.firewall import firewall

firewall()
