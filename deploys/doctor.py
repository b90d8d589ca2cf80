"""Say what keeps people from logging in, and what to do about it; changes nothing.

docs/doctor.md has more.
"""

from hubstead.doctor import doctor

doctor()
