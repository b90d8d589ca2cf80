"""Run the role `tls` alone: each host's authority, then what the hosts know of each other's."""

from hubstead.progress import tier
from hubstead.roles.certificates.tls import tls, trust
from hubstead.site import here
from hubstead.wanted import if_wanted, wants

site = here()

if_wanted(site, tls)

tier("trust")
if wants(site, "tls"):
    trust(site)
