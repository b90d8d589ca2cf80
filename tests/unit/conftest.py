"""What all unit tests share."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from tests.kit.userdb import Cluster, throwaway_cluster

# On import, pyinfra_cli has gevent replace threads, sockets and processes in the whole interpreter.
# The tests of the users table wait for real ones, and would wait for ever.
with patch("gevent.monkey.patch_all"):
    from tests.unit.plans import plan

__all__ = ["plan"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A throwaway PostgreSQL with the roles of a deployment."""
    with throwaway_cluster() as cluster:
        yield cluster
