"""The whole service, tier by tier. Each role can be run alone: deploys/ROLE.py."""

from hubstead import parts
from hubstead.progress import tier
from hubstead.retire import retire
from hubstead.roles.care.verify import verify
from hubstead.roles.certificates.certbot import certbot
from hubstead.roles.certificates.expiry import expiry
from hubstead.roles.certificates.tls import tls, tls_settled, trust
from hubstead.roles.database.postgres import postgres
from hubstead.roles.database.userdb import userdb
from hubstead.roles.edge.apache import apache
from hubstead.roles.edge.nginx import nginx
from hubstead.roles.hub.jupyterhub import jupyterhub
from hubstead.roles.lab.jupyterlab import jupyterlab
from hubstead.roles.machine.base import base
from hubstead.roles.machine.firewall import firewall
from hubstead.roles.machine.node import node
from hubstead.roles.machine.python import python
from hubstead.site import here
from hubstead.wanted import if_wanted, wants

site = here()

tier("base")
if_wanted(site, base)
# before anything listens
if_wanted(site, firewall)
retire(site)
if_wanted(site, tls)

tier("trust")
if wants(site, "tls"):
    trust(site)

tier("database")
if_wanted(site, postgres)

tier("hub")
if_wanted(site, python)
if_wanted(site, userdb)
if_wanted(site, node)
if wants(site, "jupyterhub"):
    parts.spawner(site).deploy(site)
    parts.proxy(site).deploy(site)
    for way in parts.ways(site):
        way.deploy(site)
    jupyterhub(site)
if_wanted(site, jupyterlab)

tier("edge")
if_wanted(site, nginx)
if_wanted(site, apache)

tier("certificate")
if_wanted(site, certbot)
tls_settled(site)
if_wanted(site, expiry)

tier("checks")
if_wanted(site, verify)
