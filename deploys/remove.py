"""Remove the service from its hosts; docs/remove.md says what stays."""

from hubstead.removal import remove
from hubstead.site import found

remove(found())
