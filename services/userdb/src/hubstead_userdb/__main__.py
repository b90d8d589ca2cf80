"""``python -m hubstead_userdb`` is ``hub-users``."""

import sys

from hubstead_userdb.cli import main

sys.exit(main())
