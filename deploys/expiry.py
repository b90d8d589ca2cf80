"""Run the role `expiry` alone."""

from hubstead.roles.expiry import expiry

expiry()
