"""What all unit tests share."""

from unittest.mock import patch

# On import, pyinfra_cli has gevent replace threads, sockets and processes in the whole interpreter.
# The tests of the users table wait for real ones, and would wait for ever.
with patch("gevent.monkey.patch_all"):
    from tests.unit.plans import plan

__all__ = ["plan"]
