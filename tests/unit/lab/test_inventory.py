"""The hosts that an inventory names, and what it says of them."""

from pathlib import Path
from typing import Any

import pytest

from lab import checkout, inventory
from lab.inventory import Spec
from lab.state import LabError


def test_defaults() -> None:
    assert inventory.parse("hub.example.org", {}) == Spec("hub.example.org")


def test_everything_set() -> None:
    data = {
        "lab_os": "bookworm",
        "lab_memory": 2048,
        "lab_addresses": ["169.254.169.254", "198.18.1.1"],
        "lab_names": ["www.example.org"],
    }
    assert inventory.parse("a", data) == Spec(
        "a",
        "bookworm",
        2048,
        ("169.254.169.254", "198.18.1.1"),
        names=("www.example.org",),
    )


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("@local", {}, "@local is not a host that the lab can boot"),
        ("../../etc", {}, "no host name"),
        ("a" * 64, {}, "no host name"),
        ("a", {"lab_os": "jessie"}, "lab_os of a is 'jessie'; it can be trixie or bookworm"),
        ("a", {"lab_memory": "2G"}, "a number of MiB"),
        ("a", {"lab_memory": 64}, "a number of MiB from 128"),
        ("a", {"lab_addresses": "169.254.169.254"}, "a list of IPv4 addresses"),
        ("a", {"lab_addresses": ["::1"]}, "'::1' is not an IPv4 address"),
        ("a", {"lab_addresses": ["198.18.0.77"]}, "cannot be played by a lab host"),
        ("a", {"lab_addresses": ["1.2.3.4"]}, "cannot be played by a lab host"),
        ("a", {"lab_names": "www.example.org"}, "a list of lower-case host names"),
        ("a", {"lab_names": ["b", "W.example.org"]}, "a list of lower-case host names"),
        ("a", {"lab_names": ["b c"]}, "a list of lower-case host names"),
    ],
)
def test_what_is_refused(name: str, data: dict[str, Any], error: str) -> None:
    with pytest.raises(LabError, match=error):
        inventory.parse(name, data)


def test_pyinfra_reads_groups_and_their_data(tmp_path: Path) -> None:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data/db.py").write_text('lab_os = "bookworm"\npostgres_version = 17\n')
    file = tmp_path / "prod.py"
    file.write_text('hub = [("hub.a", {"lab_memory": 512})]\ndb = ["db.a"]\n')
    assert inventory.read(file, checkout.PROJECT) == [
        Spec("hub.a", memory=512),
        Spec("db.a", os="bookworm"),
    ]


@pytest.mark.parametrize(
    ("data", "asks"),
    [
        ({}, False),
        ({"tls": "files"}, False),
        ({"tls": "acme"}, True),
        ({"tls": "acme", "tls_acme_staging": True}, False),
        ({"tls": "acme", "tls_acme_directory": "https://ca.example.org/dir"}, False),
    ],
)
def test_who_asks_the_lets_encrypt_of_the_lab(data: dict[str, Any], asks: bool) -> None:
    assert inventory.parse("a", data).acme is asks


def test_the_example_for_production_asks_it() -> None:
    specs = inventory.read(checkout.PROJECT / "inventories/prod.py", checkout.PROJECT)
    assert [spec.acme for spec in specs] == [True, True, True]


@pytest.mark.parametrize(("more", "front"), [("", "hub.a"), ('edge = ["edge.a"]', "edge.a")])
def test_the_front_has_the_names_that_are_certified(tmp_path: Path, more: str, front: str) -> None:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data/all.py").write_text(
        f'tls = "acme"\nhub_names = ["{front}", "www.a", "nobody\'s"]\nlab_names = []\n'
        'hub_servers_name = "servers.a"\n'
    )
    file = tmp_path / "prod.py"
    file.write_text(f'hub = ["hub.a"]\ndb = ["db.a"]\n{more}\n')
    specs = inventory.read(file, checkout.PROJECT)
    assert {spec.name: spec.names for spec in specs if spec.names} == {
        front: ("servers.a", "www.a")
    }


def test_names_that_no_acme_server_asks_for_stay_out_of_the_lab() -> None:
    assert inventory.parse("a", {"hub_names": ["www.a"]}).names == ()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("hub = [\n")
    with pytest.raises(LabError, match=r"cannot read the inventory .*broken\.py"):
        inventory.read(file, checkout.PROJECT)


def test_no_hosts(tmp_path: Path) -> None:
    file = tmp_path / "empty.py"
    file.write_text("hub = []\n")
    with pytest.raises(LabError, match="names no hosts"):
        inventory.read(file, checkout.PROJECT)
