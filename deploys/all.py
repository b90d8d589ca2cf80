"""The whole service, tier by tier. Each role can be run alone: deploys/ROLE.py."""

from hubstead.progress import tier
from hubstead.roles import docker, postgres
from hubstead.roles.apache import apache
from hubstead.roles.base import base
from hubstead.roles.certbot import certbot
from hubstead.roles.chp import chp
from hubstead.roles.expiry import expiry
from hubstead.roles.firewall import firewall
from hubstead.roles.jupyterhub import jupyterhub
from hubstead.roles.jupyterlab import jupyterlab
from hubstead.roles.nginx import nginx
from hubstead.roles.node import node
from hubstead.roles.python import python
from hubstead.roles.retire import retire
from hubstead.roles.tls import tls, tls_settled, trust
from hubstead.roles.traefik import traefik
from hubstead.roles.userdb import userdb
from hubstead.roles.verify import verify
from hubstead.roles.wanted import wants

tier("base")
if wants("base"):
    base()
# before anything listens
if wants("firewall"):
    firewall()
retire()
if wants("tls"):
    tls()

tier("trust")
if wants("tls"):
    trust()

tier("database")
if wants("postgres"):
    postgres.install()

tier("hub")
if wants("python"):
    python()
if wants("userdb"):
    userdb()
if wants("node"):
    node()
if wants("docker"):
    docker.install()
    docker.singleuser()
if wants("traefik"):
    traefik()
if wants("chp"):
    chp()
if wants("jupyterhub"):
    jupyterhub()
if wants("jupyterlab"):
    jupyterlab()

tier("edge")
if wants("nginx"):
    nginx()
if wants("apache"):
    apache()

tier("certificate")
if wants("certbot"):
    certbot()
tls_settled()
if wants("expiry"):
    expiry()

tier("checks")
if wants("verify"):
    verify()
