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
from hubstead.wanted import wants

site = here()

tier("base")
if wants(site, "base"):
    base(site)
# before anything listens
if wants(site, "firewall"):
    firewall(site)
retire(site)
if wants(site, "tls"):
    tls(site)

tier("trust")
if wants(site, "tls"):
    trust(site)

tier("database")
if wants(site, "postgres"):
    postgres(site)

tier("hub")
if wants(site, "python"):
    python(site)
if wants(site, "userdb"):
    userdb(site)
if wants(site, "node"):
    node(site)
if wants(site, "jupyterhub"):
    parts.spawner(site).deploy(site)
    parts.proxy(site).deploy(site)
    parts.authenticator(site).deploy(site)
    jupyterhub(site)
if wants(site, "jupyterlab"):
    jupyterlab(site)

tier("edge")
if wants(site, "nginx"):
    nginx(site)
if wants(site, "apache"):
    apache(site)

tier("certificate")
if wants(site, "certbot"):
    certbot(site)
tls_settled(site)
if wants(site, "expiry"):
    expiry(site)

tier("checks")
if wants(site, "verify"):
    verify(site)
