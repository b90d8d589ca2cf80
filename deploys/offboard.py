"""Archive a person's files, then remove account and files; docs/users.md has more."""

from hubstead.offboarding import offboard_person
from hubstead.site import found

offboard_person(found())
