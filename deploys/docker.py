"""Run the role `docker` alone."""

from hubstead.roles.docker import install, singleuser
from hubstead.roles.wanted import wants

if wants("docker"):
    install()
    singleuser()
