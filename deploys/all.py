"""The whole service, tier by tier. Each role can be run alone: deploys/ROLE.py."""

from hubstead.progress import tier
from hubstead.roles.base import base
from hubstead.roles.node import node
from hubstead.roles.python import python

tier("base")
base()
python()
node()
