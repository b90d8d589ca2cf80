"""What stands in front of the service, with its certificate, without the service itself."""

from hubstead.progress import tier
from hubstead.roles.apache import apache
from hubstead.roles.base import base
from hubstead.roles.certbot import certbot
from hubstead.roles.chp import chp
from hubstead.roles.expiry import expiry
from hubstead.roles.nginx import nginx
from hubstead.roles.node import node
from hubstead.roles.python import python
from hubstead.roles.retire import retire
from hubstead.roles.tls import tls, tls_settled, trust
from hubstead.roles.traefik import traefik
from hubstead.roles.wanted import wants

tier("base")
if wants("base"):
    base()
retire()
if wants("tls"):
    tls()
    trust()
if wants("python"):
    python()
if wants("traefik"):
    traefik()
if wants("chp"):
    node()
    chp()
if wants("nginx"):
    nginx()
if wants("apache"):
    apache()
if wants("certbot"):
    certbot()
tls_settled()
if wants("expiry"):
    expiry()
