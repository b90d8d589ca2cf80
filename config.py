"""pyinfra's own options for every run of this project.

pyinfra reads it from the directory that it is run in, which may have a link to it (docs/own.md).
"""

import sys
from pathlib import Path

from pyinfra import config
from pyinfra_cli.exceptions import WrappedError

# group data and deploys import `hubstead`: that of this clone, wherever pyinfra is run
sys.path.insert(0, str(Path(__file__).resolve().parent))
# pyinfra finds an operation by the line numbers of its call stack (pyinfra-dev/pyinfra#1370)
config.REQUIRE_PYINFRA_VERSION = "==3.10.0"
# one failed host stops the run: tiers build upon each other
config.FAIL_PERCENT = 0
if any(Path(word).name == "doctor.py" for word in sys.argv):
    # it tells of the others where one does not answer, and so does its status (docs/doctor.md)
    config.FAIL_PERCENT = 100
    WrappedError.exit_code = 2
