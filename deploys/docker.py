"""Run the role `docker` alone."""

from hubstead.roles.docker import install, singleuser
from hubstead.topology import plays

if plays("hub"):
    install()
    singleuser()
