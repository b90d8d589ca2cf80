"""Run the role `docker` alone."""

from hubstead.roles.docker import install, singleuser

install()
singleuser()
