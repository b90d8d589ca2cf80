"""Run the role `redirect` alone."""

from hubstead.roles.redirect import redirect
from hubstead.roles.retire import wants

if wants("redirect"):
    redirect()
