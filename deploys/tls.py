"""Run the role `tls` alone: each host's authority, then what the hosts know of each other's."""

from hubstead.progress import tier
from hubstead.roles.tls import tls, trust
from hubstead.roles.wanted import wants

if wants("tls"):
    tls()

tier("trust")
if wants("tls"):
    trust()
