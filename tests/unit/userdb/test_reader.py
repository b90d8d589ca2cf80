"""The login's access to the table while the database is in trouble."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from hubstead_userdb.errors import UnavailableError
from hubstead_userdb.reader import UsersReader


@pytest.fixture
def reader(hub_users: Any) -> UsersReader:
    hub_users.ok("add", "ada", "--generate")
    return UsersReader(hub_users.reader_dsn, 2, "test")


def test_a_database_that_hangs_costs_one_timeout_not_one_each(
    reader: UsersReader, hub_users: Any
) -> None:
    assert reader.find("ada") is not None
    server = int((hub_users.cluster.data / "postmaster.pid").read_text().split()[0])
    os.kill(server, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(UnavailableError):
            reader.find("ada")
        hung = time.monotonic()
        for _ in range(100):
            with pytest.raises(UnavailableError):
                reader.find("ada")
        after = time.monotonic()
    finally:
        os.kill(server, signal.SIGCONT)
    assert hung - start < 4
    assert after - hung < 0.5
    time.sleep(1.1)
    assert reader.find("ada") is not None


def test_names_that_cannot_be_do_not_reach_the_database(tmp_path: Path) -> None:
    reader = UsersReader(tmp_path / "none", 2, "test")
    assert reader.find("ada\0") is None
    assert reader.find("x" * 1_000_000) is None
    with pytest.raises(UnavailableError, match="does not exist"):
        reader.find("ada")


def test_a_new_connection_line_needs_no_restart(reader: UsersReader, hub_users: Any) -> None:
    line = hub_users.reader_dsn.read_text()
    hub_users.reader_dsn.write_text("host=/nowhere")
    with pytest.raises(UnavailableError):
        reader.find("ada")
    hub_users.reader_dsn.write_text(line)
    time.sleep(1.1)
    assert reader.find("ada") is not None


def test_a_lost_right_is_trouble_not_an_unknown_user(bare: Any) -> None:
    reader = UsersReader(bare.reader_dsn, 2, "test")
    bare.ok("migrate")
    with bare.owner() as owner:
        owner.execute("REVOKE SELECT ON users FROM userdb_reader")
    with pytest.raises(UnavailableError, match="permission denied"):
        reader.find("ada")
