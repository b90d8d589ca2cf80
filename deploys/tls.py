"""Run the role `tls` alone."""

from hubstead.roles.tls import tls

tls()
