"""Run the role `base` alone."""

from hubstead.roles.base import base

base()
