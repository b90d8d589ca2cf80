"""As deploys/all.py, without the image of the users' servers and without the checks."""

from hubstead.roles import docker, postgres
from hubstead.roles.base import base
from hubstead.roles.firewall import firewall
from hubstead.roles.jupyterhub import jupyterhub
from hubstead.roles.node import node
from hubstead.roles.python import python
from hubstead.roles.traefik import traefik
from hubstead.roles.userdb import userdb

base()
python()
postgres.install()
userdb()
node()
docker.install()
traefik()
jupyterhub()
firewall()
