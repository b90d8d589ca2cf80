"""Run the role `redirect` alone."""

from hubstead.roles.redirect import redirect
from hubstead.roles.wanted import wants

if wants("redirect"):
    redirect()
