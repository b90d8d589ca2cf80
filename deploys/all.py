"""The whole service, tier by tier. Each role can be run alone: deploys/ROLE.py."""

from hubstead.progress import tier
from hubstead.roles import docker, postgres, verify
from hubstead.roles.apache import apache
from hubstead.roles.base import base
from hubstead.roles.certbot import certbot
from hubstead.roles.chp import chp
from hubstead.roles.edge import is_front
from hubstead.roles.expiry import expiry
from hubstead.roles.firewall import firewall
from hubstead.roles.jupyterhub import jupyterhub
from hubstead.roles.jupyterlab import jupyterlab
from hubstead.roles.nginx import nginx
from hubstead.roles.node import node
from hubstead.roles.python import python
from hubstead.roles.redirect import redirect
from hubstead.roles.resolver import resolver
from hubstead.roles.retire import retire, wants
from hubstead.roles.tls import tls, tls_settled, trust
from hubstead.roles.traefik import traefik
from hubstead.roles.userdb import userdb
from hubstead.topology import plays

tier("base")
base()
# before anything listens
firewall()
retire()
tls()

tier("trust")
trust()

tier("database")
if plays("db"):
    postgres.install()

tier("hub")
if plays("hub"):
    python()
    userdb()
if wants("jupyterhub"):
    node()
    docker.install()
    docker.singleuser()
    if wants("traefik"):
        traefik()
    if wants("chp"):
        chp()
    if wants("redirect"):
        redirect()
    jupyterhub()
if wants("jupyterlab"):
    jupyterlab()

tier("edge")
if wants("nginx"):
    nginx()
if wants("apache"):
    apache()

tier("certificate")
if wants("resolver"):
    resolver()
if wants("certbot"):
    certbot()
tls_settled()
expiry()

tier("checks")
if wants("jupyterhub"):
    verify.hub()
if wants("jupyterlab"):
    verify.lab()
if is_front():
    verify.front()
