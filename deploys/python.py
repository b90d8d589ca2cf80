"""Run the role `python` alone."""

from hubstead.roles.python import python
from hubstead.topology import plays

if plays("hub"):
    python()
