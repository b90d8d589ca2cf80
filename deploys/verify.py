"""Check that the deployed service answers; changes nothing."""

from hubstead.roles import verify
from hubstead.roles.edge import is_front
from hubstead.topology import plays

if plays("hub"):
    verify.hub()
if is_front():
    verify.front()
