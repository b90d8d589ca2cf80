"""pyinfra's own options for every run of this project."""

from pyinfra import config

# pyinfra finds an operation by the line numbers of its call stack (pyinfra-dev/pyinfra#1370)
config.REQUIRE_PYINFRA_VERSION = "==3.10.0"
# one failed host stops the run: tiers build upon each other
config.FAIL_PERCENT = 0
