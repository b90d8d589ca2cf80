"""Run the role `firewall` alone."""

from hubstead.roles.firewall import firewall
from hubstead.roles.wanted import wants

if wants("firewall"):
    firewall()
