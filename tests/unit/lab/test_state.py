"""What the lab remembers of its hosts, and tells of them."""

from pathlib import Path
from typing import Any

import pytest

from lab import state
from lab.state import LabError
from tests.unit.lab.records import record


class TestAddresses:
    def test_a_name_gets_the_same_one_where_that_is_free(self) -> None:
        own = state.free_number("hub.example.org", [])
        assert state.free_number("hub.example.org", [11]) == own
        assert state.free_number("hub.example.org", [own]) == (own - 10 + 1) % 245 + 10

    def test_there_are_245(self) -> None:
        every: list[int] = []
        for _ in range(245):
            every.append(state.free_number("hub.example.org", every))
        assert sorted(every) == list(range(10, 255))
        with pytest.raises(LabError, match="All 245 addresses"):
            state.free_number("hub.example.org", every)

    def test_both_families_and_the_interface_follow_from_the_number(self) -> None:
        host = record(number=254)
        assert host.address == "198.18.0.254"
        assert host.address6 == "2001:2::254"
        assert len(host.interface) < 16

    def test_records_outlive_the_process(self) -> None:
        further = {"addresses": ("169.254.169.254",), "names": ("db2.example.org",)}
        hosts = [record(helper="acme"), record("db.example.org", 11, memory=512, **further)]
        for host in reversed(hosts):
            host.save()
        assert state.records() == hosts


class TestHostsFile:
    def test_names_every_host_and_itself_in_short(self) -> None:
        own, other = record(), record("db.example.org", 11)
        text = state.hosts_file("127.0.0.1 localhost\n", own, [own, other])
        assert text.splitlines() == [
            "127.0.0.1 localhost",
            "# lab hosts, kept by the lab",
            "198.18.0.10 hub.example.org hub",
            "198.18.0.11 db.example.org",
            "# end of the lab hosts",
        ]

    def test_has_the_further_names_of_every_host(self) -> None:
        own = record(names=("www.example.org", "w3.example.org"))
        other = record("edge.example.net", 11, names=("w3.example.net",))
        assert state.hosts_file("", own, [own, other]).splitlines()[1:3] == [
            "198.18.0.10 hub.example.org hub www.example.org w3.example.org",
            "198.18.0.11 edge.example.net w3.example.net",
        ]

    def test_is_renewed_between_lines_of_others(self) -> None:
        own, other = record(), record("db.example.org", 11)
        text = state.hosts_file("127.0.0.1 localhost\n", own, [own, other]) + "10.0.0.1 mine\n"
        renewed = state.hosts_file(text, own, [own])
        assert renewed == text.replace("198.18.0.11 db.example.org\n", "")
        assert state.hosts_file(renewed, own, [own]) == renewed


class TestWhatTheProjectLearns:
    def test_ssh_config_pins_key_and_user(self) -> None:
        text = state.ssh_config([record(), record("db.example.org", 11)], Path("/my project/.lab"))
        assert text.count("Host ") == 2
        assert "HostName 198.18.0.11\n" in text
        assert 'UserKnownHostsFile "/my project/.lab/known_hosts"\n' in text
        assert text.count("StrictHostKeyChecking yes\n") == 2

    def test_known_hosts_by_name_and_address(self) -> None:
        text = state.known_hosts({record(): "ssh-ed25519 AAAA root@hub.example.org\n"})
        assert text == "hub.example.org,198.18.0.10 ssh-ed25519 AAAA\n"

    def test_group_data_is_python(self) -> None:
        data: dict[str, Any] = {}
        archives = {"trixie": "/cache/t.tar", "bookworm": "/cache/b.tar"}
        exec(state.group_data(Path("/p/.lab"), [Path("/c/it's.crt")], archives, None), data)
        assert data["ssh_config_file"] == "/p/.lab/ssh_config"
        assert data["base_ca_certificates"] == ["/c/it's.crt"]
        assert data["docker_base_archives"] == archives
        assert "tls_acme_directory" not in data
