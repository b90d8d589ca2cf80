"""Check that the deployed service answers; changes nothing."""

from hubstead.roles.verify import verify
from hubstead.roles.wanted import wants

if wants("verify"):
    verify()
