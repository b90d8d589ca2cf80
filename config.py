"""pyinfra's own options for every run of this project."""

# pyinfra finds an operation by the line numbers of its call stack (pyinfra-dev/pyinfra#1370)
REQUIRE_PYINFRA_VERSION = "==3.10.0"
# one failed host stops the run: tiers build upon each other
FAIL_PERCENT = 0
