"""hub-users against the throwaway PostgreSQL."""

from pathlib import Path

import pytest

from tests.kit.userdb import Cluster, HubUsers, fresh_database, hub_users_of, migrate


@pytest.fixture
def bare(cluster: Cluster, tmp_path: Path, database_left_by: list[str]) -> HubUsers:
    """hub-users beside an empty database."""
    fresh_database(cluster)
    database_left_by.clear()
    return hub_users_of(cluster, tmp_path)


@pytest.fixture(scope="session")
def database_left_by() -> list[str]:
    """Which fixture made the database that is there: making a new one is slow."""
    return []


@pytest.fixture
def hub_users(cluster: Cluster, tmp_path: Path, database_left_by: list[str]) -> HubUsers:
    """hub-users with an empty table. A test that leaves more than rows behind takes ``bare``."""
    hub_users = hub_users_of(cluster, tmp_path)
    if database_left_by == ["hub_users"]:
        with hub_users.owner() as connection:
            connection.execute("TRUNCATE users CASCADE")
    else:
        fresh_database(cluster)
        database_left_by[:] = ["hub_users"]
        migrate(hub_users)
    return hub_users
