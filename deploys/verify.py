"""Check that the deployed service answers; changes nothing."""

from hubstead.roles.verify import verify
from hubstead.topology import plays

if plays("hub"):
    verify()
