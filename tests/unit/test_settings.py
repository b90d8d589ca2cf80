"""Settings are checked before anything else, and a mistake is explained by key and mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.inventory import Inventory

from hubstead.settings import model as settings
from hubstead.settings.model import SettingsError, check_inventory
from tests.unit.plans import TRUST

PROJECT = Path(__file__).parents[2]
AGE_KEY = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"


def check(data: dict[str, Any]) -> list[str]:
    """What is wrong with a host's settings, beside what has to be decided."""
    return settings.check(TRUST | data)


def test_nothing_else_set_is_complete() -> None:
    assert check({}) == []


def test_an_unknown_key_of_a_role_is_refused() -> None:
    (mistake,) = check({"postgres_frobnicate": 1})
    assert "`postgres_frobnicate` is not a setting" in mistake


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("hub_user", "hub_users"),
        ("docker_subnets", "docker_subnet"),
        ("base_time_zone", "base_timezone"),
        # no prefix of a role, but nearly a setting
        ("hubusers", "hub_users"),
        ("fire_wall", "firewall"),
        ("proxys", "proxy"),
    ],
)
def test_a_typo_is_answered_with_the_name(typo: str, meant: str) -> None:
    assert check({typo: 1}) == [f"`{typo}` is not a setting: did you mean `{meant}`?"]


def test_a_removed_key_is_answered_with_what_became_of_it() -> None:
    (mistake,) = check({"tls_acme_lifetime": 1440})
    assert mistake == (
        "`tls_acme_lifetime` is no setting any more: certbot sees for itself how long a "
        "certificate is valid. Remove it"
    )


def test_the_value_of_an_unknown_key_is_not_shown() -> None:
    (mistake,) = check({"hub_database_password": "hunter2"})
    assert "hunter2" not in mistake


@pytest.mark.parametrize(
    "data",
    [
        {"rack": 7, "owner": "Ada", "backup_window": "02:00"},
        {"ssh_user": "deploy", "ssh_port": 2222, "_sudo": True, "lab_os": "bookworm"},
    ],
)
def test_data_of_the_owner_and_of_other_programs_is_left_alone(data: dict[str, Any]) -> None:
    assert check(data) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"hub_cpu_limit": "many"}, ["`hub_cpu_limit` = 'many'", "a valid number"]),
        ({"hub_memory_limit": "2 gigs"}, ["`hub_memory_limit` = '2 gigs'", "the default is 2G"]),
        ({"hub_memory_limit": 2}, ["`hub_memory_limit` = 2", "a valid string"]),
        ({"hub_base_url": "jupyter"}, ["`hub_base_url`", '"/jupyter/"']),
        ({"hub_base_url": "/x; return 500; #/"}, ["= '/x; return 500; #/'", ". _ ~"]),
        ({"hub_base_url": "//evil/"}, ["`hub_base_url`", "empty"]),
        ({"hub_base_url": "/a/../b/"}, ["`hub_base_url`", '".."']),
        ({"hub_base_url": "/a/./"}, ["`hub_base_url`"]),
        ({"hub_base_url": "/a%20b/"}, ["`hub_base_url`"]),
        ({"hub_base_url": "/a\n/"}, ["`hub_base_url`"]),
        ({"hub_base_url": "/$host/"}, ["`hub_base_url`"]),
        ({"hub_base_url": "/jupytér/"}, ["`hub_base_url`"]),
        ({"hub_cpu_limit": float("inf")}, ["`hub_cpu_limit` = inf", "finite number"]),
        ({"hub_api_port": 80}, ["`hub_api_port` = 80", "greater than or equal to 1024"]),
        ({"hub_spawner": "dockr"}, ["`hub_spawner` = 'dockr'", "'docker'"]),
        ({"hub_files": "srv/files"}, ["`hub_files` = 'srv/files'", '"/srv/hubstead/files"']),
        ({"hub_files": "/srv"}, ["`hub_files`", "below another"]),
        ({"hub_files": "/srv/a:b"}, ["`hub_files`"]),
        ({"hub_files": "/srv/../etc/x"}, ["`hub_files`"]),
        ({"hub_files": "/srv/files/"}, ["`hub_files`"]),
        ({"hub_files": "/home/hub"}, ["/home is the system's, or hidden from services"]),
        ({"hub_tmp_limit": "1g"}, ["`hub_tmp_limit`"]),
        ({"hub_disk_quota": "10 GB"}, ["`hub_disk_quota` = '10 GB'"]),
        ({"hub_disk_quota": "0G"}, ["`hub_disk_quota` = '0G'"]),
        (
            {"hub_disk_quota": "1G", "hub_file_quota": 10},
            ["`hub_file_quota` = 10", "greater than or equal to 1000"],
        ),
        ({"hub_shared_files": {"course": "/course"}}, ["'course' is no path"]),
        ({"hub_shared_files": {"/": "/host"}}, ["'/' is no path"]),
        ({"hub_shared_files": {"/srv/x": "/home/jovyan/x"}}, ["/home is the system's"]),
        ({"hub_shared_files": {"/run/docker.sock": "/d"}}, ["/run is the system's"]),
        ({"hub_shared_files": {"/srv/a": "/x", "/srv/b": "/x"}}, ["two directories"]),
        ({"hub_shared_files": {"/srv/hubstead": "/x"}}, ["has everybody's files in it"]),
        ({"hub_idle_timeout": 1}, ["`hub_idle_timeout` = 1", "at least 10 seconds, or 0"]),
        ({"hub_max_age": 9}, ["`hub_max_age` = 9", "at least 10 seconds, or 0"]),
        ({"hub_cull_users": True}, ["would take the files of people who come again"]),
        (
            {"hub_cull_users": True, "hub_authenticator": "token", "hub_idle_timeout": 0},
            ["`hub_cull_users` needs an `hub_idle_timeout` or `hub_max_age`"],
        ),
        ({"hub_busy_max": -1}, ["`hub_busy_max` = -1"]),
        ({"hub_names": "hub.example.org"}, ["`hub_names`", "a valid list", "as JSON"]),
        ({"hub_names": ["https://hub"]}, ["`hub_names`", "not a host name"]),
        ({"hub_names": ["-"]}, ["'-' is not a host name such as hub.example.org", "hyphens"]),
        ({"hub_names": ["hub-.example.org"]}, ["`hub_names`"]),
        ({"hub_names": ["hub.-a"]}, ["`hub_names`"]),
        ({"hub_names": ["hub.example.org."]}, ["`hub_names`"]),
        ({"hub_names": ["hub.example.org\n"]}, ["`hub_names`"]),
        ({"hub_names": ["a" * 64]}, ["`hub_names`"]),
        ({"hub_names": [".".join(["abcdefgh"] * 29)]}, ["`hub_names`"]),
        ({"hub_names": ["256.1.1.1"]}, ["`hub_names`", "IPv4 address"]),
        ({"hub_names": ["2001:db8::1"]}, ["`hub_names`", "IPv4 address"]),
        ({"hub_names": ["*.example.org"]}, ["`hub_names`"]),
        ({"hub_users": [{"admn": 1}]}, ["`hub_users[0]['admn']`", "there is no such key"]),
        ({"hub_users": ["Ada"]}, ["`hub_users[0]", "lower-case"]),
        ({"base_timezone": "Europe/Zurch"}, ["`base_timezone` = 'Europe/Zurch'", "Europe/Zurich"]),
        ({"base_ca_certificates": ["/absent.pem"]}, ["`base_ca_certificates`", "/absent.pem"]),
        ({"base_packages": ["vim=2:9"]}, ["`base_packages`", "'vim=2:9' is not a package name"]),
        ({"base_npm_registry": "npm.example.org"}, ["`base_npm_registry`", "not a URL"]),
        ({"base_npm_registry": "https://n.example.org/$(id)"}, ["`base_npm_registry`"]),
        ({"base_npm_registry": "https://n.example.org/`id`"}, ["`base_npm_registry`"]),
        ({"base_npm_registry": "https://n.example.org:port/"}, ["`base_npm_registry`"]),
        ({"base_pypi_index": "https://p.example.org/\nRUN id"}, ["`base_pypi_index`", "not a URL"]),
        ({"base_pypi_index": "https://p.example.org/a b"}, ["`base_pypi_index`"]),
        ({"base_apt_mirror": "http://m.example.org/'; id; '"}, ["`base_apt_mirror`", "not a URL"]),
        ({"base_apt_mirror": "http://m.example.org/#"}, ["`base_apt_mirror`"]),
        ({"base_address": "-"}, ["`base_address` = '-'", "nor an address"]),
        ({"base_address": "10.0.0.5 user=postgres"}, ["`base_address`"]),
        ({"base_address": "fe80::1%eth0"}, ["`base_address`"]),
        ({"docker_base_image": "debian\nRUN id"}, ["`docker_base_image`", "not an image"]),
        ({"docker_base_image": "debian AS x"}, ["`docker_base_image`"]),
        ({"docker_base_image": "$IMAGE"}, ["`docker_base_image`"]),
        ({"docker_subnet": "172.30.0.1/16"}, ["`docker_subnet`", "the default is 172.30.0.0/16"]),
        ({"docker_subnet": "172.30.0.0/30"}, ["`docker_subnet`", "too small"]),
        ({"docker_bridge": "Hubstead"}, ["`docker_bridge`", "the default is hubstead0"]),
        ({"docker_image_requirements": ["numpy"]}, ["'numpy' is not pinned", "NAME==VERSION"]),
        (
            {"docker_image_requirements": ["numpy==2.4.1\n--index-url=https://evil.example"]},
            ["`docker_image_requirements`", "is not pinned"],
        ),
        ({"docker_image_requirements": ["--index-url=https://a/?b==c"]}, ["is not pinned"]),
        ({"docker_image_packages": ["-o Dir=/"]}, ["`docker_image_packages`", "package name"]),
        ({"docker_base_archives": {"trixie": "/absent.tar"}}, ["/absent.tar is not a file"]),
        ({"python_interpreter": "python3"}, ["`python_interpreter` = 'python3'"]),
        ({"python_keep_releases": 1}, ["`python_keep_releases` = 1"]),
        ({"postgres_max_connections": 1}, ["`postgres_max_connections` = 1"]),
        (
            {"postgres_hba": ["local all all trust\nhost all all 0.0.0.0/0 trust"]},
            ["`postgres_hba`", "is not one line of pg_hba.conf"],
        ),
        ({"postgres_hba": ["local all teacher peer \\"]}, ["`postgres_hba`"]),
        ({"postgres_hba": ['local "all teacher peer']}, ["`postgres_hba`"]),
        ({"postgres_hba": ["hostssl all all scram-sha-256"]}, ["TYPE DATABASE USER ADDRESS"]),
        ({"postgres_hba": [""]}, ["`postgres_hba`"]),
        (
            {"postgres_listen": ["10.0.0.5'\nssl = off #"], "postgres_hba": ["local a b peer"]},
            ["`postgres_listen`", "is not an address such as 10.0.0.5, nor *"],
        ),
        ({"tls_acme_email": 'ada"@example.org'}, ["`tls_acme_email`", "ada@example.org"]),
        ({"tls_acme_email": "ada@example.org\n"}, ["`tls_acme_email`"]),
        ({"tls_acme_email": "ada@;"}, ["`tls_acme_email`"]),
        ({"tls_acme_directory": 'https://acme.example.org/"\n'}, ["`tls_acme_directory`"]),
        ({"tls_acme_directory": "https://a:b@acme.example.org/"}, ["`tls_acme_directory`"]),
        ({"tls_acme_dns": "route53"}, ["`tls_acme_dns` is for `tls` = 'acme'"]),
        ({"tls": "acme", "tls_acme_dns": "route35"}, ["`tls_acme_dns`", "route53"]),
        ({"tls": "acme", "tls_acme_dns": "rfc2136"}, ["lacks name, server"]),
        (
            {
                "tls": "acme", "tls_acme_dns": "cloudflare",
                "tls_acme_dns_options": {"api_token": "hunter2"},
            },
            ["has api_token, which is a secret"],
        ),
        (
            {"tls": "acme", "tls_acme_dns": "ovh", "tls_acme_dns_options": {
                "endpoint": "ovh-eu", "zone": "x"}},
            ["ovh does not know zone; allowed: endpoint"],
        ),
        ({"tls_acme_dns_options": {"server": "a\nb = c"}}, ["is not one word"]),
        ({"tls_acme_dns_options": {"server": "192.0.2.1"}}, ["without `tls_acme_dns`"]),
        ({"edge_https_port": 99999}, ["`edge_https_port` = 99999"]),
        ({"firewall_ssh_from": ["everywhere"]}, ["`firewall_ssh_from[0]"]),
        ({"secrets_age_recipients": ["ada"]}, ["'ada' is no public age key"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_is_allowed(
    data: dict[str, Any], words: list[str]
) -> None:
    mistakes = check(data)
    assert mistakes
    for word in words:
        assert word in " ".join(mistakes)


@pytest.mark.parametrize(
    "data",
    [
        {"hub_base_url": "/"},
        {"hub_base_url": "/a.b_c~d-e/F/...x/"},
        {"hub_names": ["localhost", "hub-1.example.org", "xn--hb-xka.example.org", "10.0.0.1"]},
        {"hub_files": "/mnt/large/files", "hub_shared_files": {"/srv/course": "/course"}},
        {"hub_disk_quota": "10G"},
        {"hub_disk_quota": "500M", "hub_file_quota": 100000},
        {"base_address": "DB.example.org"},
        {"base_address": "fd00::5"},
        {"base_pypi_index": "https://pypi.example.org:8443/simple/?a=b&c=%20"},
        {"base_pypi_index": "http://[fd00::5]:3141/root/pypi/+simple/"},
        {"docker_base_image": "debian"},
        {"docker_base_image": f"reg.example.org:5000/a/b__c:1.2-x@sha256:{'0' * 64}"},
        {"docker_image_requirements": ["numpy==2.4.1", "a[b,c]==1 ; python_version > '3.11'"]},
        {
            "postgres_listen": ["10.0.0.5", "::", "*", "localhost"],
            "postgres_hba": [
                "# teachers", 'hostssl "my grades" teacher 10.0.0.0/24 scram-sha-256',
                "local\tall\tall\tpeer map=x", "host all all 10.0.0.0 255.0.0.0 reject",
            ],
        },
        {"tls": "acme", "tls_acme_email": "o'hara+hub@mail.example.org"},
        {"tls": "acme", "tls_acme_directory": "https://acme.example.org:14000/dir"},
        {"hub_users": [{"username": "a@b.example_x-1", "admin": True}]},
    ],
)  # fmt: skip
def test_what_is_sound_passes(data: dict[str, Any]) -> None:
    assert check(data) == []


@pytest.mark.parametrize("name", ["hub;id", "-", "hub example", "hub\n", "$(id)"])
def test_a_host_of_a_strange_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="the name of this host in the inventory"):
        check_inventory(Inventory(([name], {})))


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (
            {"base_apt_mirror": "http://mirror.example.org/debian"},
            ["base_apt_mirror", "base_apt_security_mirror"],
        ),
        ({"postgres_listen": ["10.0.0.5"]}, ["postgres_listen", "postgres_hba"]),
        (
            {"application": "jupyterlab", "edge": "nginx", "hub_base_url": "/jupyter/"},
            ["`hub_base_url` = '/jupyter/'", "application"],
        ),
        ({"hub_file_quota": 5000}, ["`hub_file_quota` = 5000", "`hub_disk_quota`"]),
        ({"hub_users": ["ada", "eve"]}, ["hub_users", "enabled admin"]),
        ({"hub_users": [{"username": "ada", "admin": True}, "ada"]}, ["hub_users", "'ada'"]),
        ({"hub_users": [{"username": "a", "admin": True, "enabled": False}]}, ["enabled admin"]),
        (
            {"secrets_age_recipients": [AGE_KEY]},
            ["secrets_age_recipients", "without `secrets_age_file`"],
        ),
    ],
)
def test_an_impossible_combination_names_its_keys(data: dict[str, Any], keys: list[str]) -> None:
    (mistake,) = check(data)
    for key in keys:
        assert key in mistake


def test_a_mirror_with_a_password_is_refused_without_showing_it() -> None:
    (mistake,) = check({"base_pypi_index": "https://ada:hunter2@pypi.example.org/simple"})
    assert "`base_pypi_index`" in mistake
    assert "hunter2" not in mistake


def test_the_value_of_a_secret_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.Settings, "models", [])

    class Service(settings.Settings):
        prefixes = ("service_",)
        service_token: int = 0

    monkeypatch.setattr(settings, "models", lambda: [Service])
    (mistake,) = check({"service_token": "hunter2"})
    assert "`service_token`: input should be" in mistake
    assert "hunter2" not in mistake


def test_all_mistakes_of_all_hosts_are_reported_together() -> None:
    inventory = Inventory(
        (
            [
                ("hub.example.org", {"hub_user": 1, "hub_cpu_limit": "many"}),
                ("db.example.org", {"hub_user": 1}),
                ("edge.example.org", {}),
            ],
            TRUST,
        )
    )
    with pytest.raises(SettingsError) as caught:
        check_inventory(inventory)
    lines = str(caught.value).splitlines()
    assert lines[0] == "Settings are wrong; no host was touched."
    assert lines[1].startswith("  hub.example.org, db.example.org: `hub_user` is not a setting")
    assert lines[2].startswith("  hub.example.org: `hub_cpu_limit` = 'many'")
    assert len(lines) == 3


def test_hosts_that_disagree_on_the_service_are_refused() -> None:
    """What is set in group_data/edge.py alone, the hub would not know of."""
    inventory = Inventory(
        (["db", "hub", "edge"], TRUST),
        edge=(["edge"], {"edge": "nginx", "base_timezone": "Europe/Zurich"}),
    )
    with pytest.raises(SettingsError) as error:
        check_inventory(inventory)
    assert "no host was touched" in str(error.value)
    (mistake,) = str(error.value).splitlines()[1:]
    assert "`edge` concerns several hosts, and is 'none' on db, hub and 'nginx' on edge" in mistake


def test_every_key_belongs_to_its_role() -> None:
    """A key that has no prefix of its own role is not protected against typos."""
    prefixes = tuple(prefix for model in settings.models() for prefix in model.prefixes)
    switches = ("application", "proxy", "edge", "tls", "firewall")
    assert {k for k in settings.known_keys() if not k.startswith(prefixes)} == set(switches)


def pyinfra(inventory: Path, deploy: str, *data: str) -> subprocess.CompletedProcess[str]:
    arguments = [argument for pair in data for argument in ("--data", pair)]
    return subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), "-y", inventory, f"deploys/{deploy}.py",
         *arguments],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """This machine as the host: whatever went on to it would show."""
    path = tmp_path / "settings_test.py"
    path.write_text('hub = ["@local"]\n')
    return path


def test_the_command_line_shows_one_paragraph_and_does_nothing(local: Path) -> None:
    run = pyinfra(local, "all", "hub_user=ada", 'hub_names="a b"', "docker_subnet=10.0.0.0/8")
    assert run.returncode == 1
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    assert "Beginning operation run" not in run.stderr
    paragraph = run.stderr[run.stderr.index("Settings are wrong") :].strip()
    assert paragraph == (
        "Settings are wrong; no host was touched.\n"
        "  @local: `hub_user` is not a setting: did you mean `hub_users`?\n"
        "  @local: `hub_names` = 'a b': input should be a valid list;"
        " on the command line it is written as JSON, in quotes"
    )


def test_a_role_that_runs_alone_knows_the_keys_of_all_roles(local: Path) -> None:
    """Once, `deploys/jupyterhub.py` took `hub_users` for a typo, as only its own keys counted."""
    run = pyinfra(local, "jupyterhub", 'hub_users=["ada"]', "postgres_listn=1")
    assert "`hub_users` must declare an enabled admin" in run.stderr
    assert "did you mean `postgres_listen`?" in run.stderr
    assert run.returncode == 1


def test_an_unreachable_host_is_named(tmp_path: Path) -> None:
    inventory = tmp_path / "unreachable.py"
    # port 1, tcpmux, is closed everywhere
    inventory.write_text(
        'hub = [("hub.example.org", {"ssh_hostname": "127.0.0.1", "ssh_port": 1})]\n'
    )
    run = pyinfra(inventory, "all")
    assert run.returncode == 1
    assert "[hub.example.org] Could not connect" in run.stderr
    assert "Traceback" not in run.stderr


def test_an_inventory_without_a_hub_says_what_to_write(tmp_path: Path) -> None:
    inventory = tmp_path / "no_hub.py"
    inventory.write_text('db = [("@fake/db", {"fake_delay": 0, "fake_delay_jitter": 0})]\n')
    run = pyinfra(inventory, "verify", "hub_people_trust_each_other=true")
    assert run.returncode == 1
    assert "needs exactly one host in the group `hub`, and it has none" in run.stderr
    assert "Traceback" not in run.stderr
