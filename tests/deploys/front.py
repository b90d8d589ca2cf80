"""What stands in front of the service, with its certificate, without the service itself."""

from hubstead import parts
from hubstead.progress import tier
from hubstead.retire import retire
from hubstead.roles.certificates.certbot import certbot
from hubstead.roles.certificates.expiry import expiry
from hubstead.roles.certificates.tls import tls, tls_settled, trust
from hubstead.roles.edge.apache import apache
from hubstead.roles.edge.nginx import nginx
from hubstead.roles.machine.base import base
from hubstead.roles.machine.node import node
from hubstead.roles.machine.python import python
from hubstead.site import here
from hubstead.wanted import if_wanted, wants

site = here()

tier("base")
if_wanted(site, base)
retire(site)
if wants(site, "tls"):
    tls(site)
    trust(site)
if_wanted(site, python)
if wants(site, "chp"):
    node(site)
if wants(site, "jupyterhub"):
    parts.proxy(site).deploy(site)
if_wanted(site, nginx)
if_wanted(site, apache)
if_wanted(site, certbot)
tls_settled(site)
if_wanted(site, expiry)
