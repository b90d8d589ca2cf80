"""Two published set-ups, each an inventory as it comes: deployed twice, and used for real.

The lab plays Let's Encrypt, GitHub and the organisation's provider. What a line of their lists
(shared/systems.md, 002 and 003) shares with other inventories is tested where those are: kernels
that outlive the Hub, renewal, websockets behind each edge, what servers reach.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import Lab
from lab.acme import Pebble
from tests.kit.hub_client import HubClient, Site, patiently
from tests.kit.identity import IdentityProvider, Person, identity_provider
from tests.kit.support import PROJECT, down, eventually, pyinfra

pytestmark = pytest.mark.slow

SERVERS = "servers.example.org"
PEOPLE = {
    "ada": Person("pw of ada", ("students",)),
    "grace": Person("pw of grace"),
    "eve": Person("pw of eve", ("alumni",)),
}


@dataclass
class System:
    """A deployed inventory, and who vouches for its people."""

    lab: Lab
    inventory: Path
    provider: IdentityProvider
    site: Site

    @property
    def name(self) -> str:
        return self.site.name

    def sudo(self, script: str) -> str:
        done = self.lab.run(self.name, f"sudo sh -euc '{script}'", check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def person(self, name: str) -> HubClient:
        """Somebody who logs in by the provider, and has a server that runs."""
        client = HubClient(self.site, name)
        answer = self.provider.log_in(client, name, f"pw of {name}")
        assert answer.status_code == 302 and client.is_logged_in(), answer.text
        client.take_token()
        client.start_server()
        return client

    def with_token(self, secret: str) -> HubClient:
        """A program that has a token of the settings'."""
        secrets = json.loads((PROJECT / f".secrets/{self.name}.json").read_text())
        client = HubClient(self.site, "")
        client.token = secrets[secret]
        return client


def system(inventory: str, name: str, directory: Path) -> Iterator[System]:
    """Bring a bare host to what the inventory says; the second run changes nothing."""
    lab, path = Lab(), PROJECT / f"inventories/{inventory}.py"
    lab.up(path)
    home = f"https://{name}/"
    try:
        with (
            identity_provider(
                lab,
                directory / "authority",
                callbacks=[f"{home}hub/oauth_callback"],
                after_logout=[home],
            ) as provider,
            pytest.MonkeyPatch.context() as environment,
        ):
            provider.people(PEOPLE)
            for way in ("GITHUB", "OIDC"):
                secret = f"HUBSTEAD_HUB_{way}_CLIENT_SECRET"
                environment.setenv(secret, provider.client_secret)
            trusting = ("--data", f"base_ca_certificates={json.dumps(provider.trusted)}")
            # GitHub's id is a placeholder of the inventory; the other's is what is registered
            client = ("--data", f"hub_github_client_id={provider.client_id}")
            runs = [pyinfra(path, *trusting, *client, "deploys/all.py") for _ in range(2)]
            assert [run.status for run in runs] == [0, 0], runs[0].end + runs[1].end
            assert runs[1].changed == [] and runs[1].operations > 50
            ca = directory / "ca.pem"
            ca.write_text(Pebble(lab).root())
            site = Site(name, lab.host(name).address, ca, servers=SERVERS)
            yield System(lab, path, provider, site)
    finally:
        down(lab, path)


class TestCampus:
    @pytest.fixture(scope="class")
    def campus(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
        yield from system("campus", "jupyter.example.org", tmp_path_factory.mktemp("campus"))

    def test_people_of_a_group_work_and_others_are_refused(self, campus: System) -> None:
        ada = campus.person("ada")
        with ada.kernel() as kernel:
            assert kernel.run("print(6*7)") == "42\n"
        assert not ada.api("GET", "/user")["admin"]
        ada.server("PUT", "/contents/large.bin", json=_file(20 << 20))
        eve = HubClient(campus.site, "eve")
        assert campus.provider.log_in(eve, "eve", "pw of eve").status_code == 403
        assert not eve.is_logged_in()

    def test_an_admin_is_one_and_reads_who_is_there(self, campus: System) -> None:
        grace = campus.person("grace")
        assert grace.api("GET", "/user")["admin"]
        assert grace.request("GET", "/hub/admin").status_code == 200
        assert "grace" in [user["name"] for user in grace.api("GET", "/users")]

    def test_a_server_has_the_limits_of_the_settings(self, campus: System) -> None:
        campus.person("ada")
        (found,) = json.loads(campus.sudo("docker inspect hubstead-ada--"))
        host = found["HostConfig"]
        assert host["Memory"] == 2 << 30
        assert (host["NanoCpus"] or host["CpuQuota"] * 10_000) == 10**9

    def test_a_program_has_the_rights_of_its_scopes(self, campus: System) -> None:
        registration = campus.with_token("hub_service_registration_token")
        made = registration.request("POST", "/hub/api/users/alan")
        assert made.status_code == 201
        alan = HubClient(campus.site, "alan")
        alan.token = registration.token
        alan.request("POST", "/hub/api/users/alan/server")
        eventually("the server is there", lambda: _ready(alan))
        patiently(alan.stop_server)
        assert registration.request("DELETE", "/hub/api/users/alan").status_code == 204
        for method, path in (("POST", "/users/ada/tokens"), ("POST", "/shutdown")):
            assert registration.request(method, f"/hub/api{path}", json={}).status_code == 403

    def test_nginx_is_the_front(self, campus: System) -> None:
        plain = f"curl -so /dev/null -w %{{redirect_url}} http://127.0.0.1 -H host:{campus.name}"
        assert campus.sudo(plain) == f"https://{campus.name}/"
        assert "default" not in campus.sudo("ls /etc/nginx/sites-enabled")
        assert campus.sudo("systemctl is-active configurable-http-proxy").strip() == "active"
        assert campus.sudo("systemctl is-enabled certbot.timer").strip() == "enabled"


# GitHub and Traefik, which other modules have in `make test`
@pytest.mark.every
class TestHardWay:
    @pytest.fixture(scope="class")
    def hard_way(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
        yield from system("hard_way", "hub.example.org", tmp_path_factory.mktemp("hard_way"))

    def test_githubs_people_work_and_others_are_refused(self, hard_way: System) -> None:
        ada, grace = hard_way.person("ada"), hard_way.person("grace")
        assert not ada.api("GET", "/user")["admin"] and grace.api("GET", "/user")["admin"]
        eve = HubClient(hard_way.site, "eve")
        assert hard_way.provider.log_in(eve, "eve", "pw of eve").status_code == 403
        look = "import getpass, socket; print(getpass.getuser(), socket.gethostname() != '')"
        with ada.kernel() as kernel:
            assert kernel.run(look) == "jovyan True\n"

    def test_the_hub_stops_and_servers_go_on(self, hard_way: System) -> None:
        ada = hard_way.person("ada")
        with ada.kernel() as kernel:
            kernel.run("kept = 'kept'")
            hard_way.sudo("systemctl stop jupyterhub")
            assert kernel.run("print(kept)") == "kept\n"
            hard_way.sudo("systemctl start jupyterhub")
            patiently(kernel.connect)
            assert kernel.run("print(kept)") == "kept\n"
        assert ada.server_answers()

    def test_its_units_are_the_ones_of_the_page(self, hard_way: System) -> None:
        for unit in ("jupyterhub", "traefik"):
            shown = hard_way.sudo(f"systemctl show -p Restart,UnitFileState,User {unit}")
            assert "Restart=always" in shown and "UnitFileState=enabled" in shown
            assert "User=root" not in shown and "User=\n" not in shown
            assert hard_way.sudo(f"journalctl -u {unit} -n 1 --output=cat").strip()
        after = hard_way.sudo("systemctl show -P After jupyterhub")
        assert "traefik.service" in after


def _file(size: int) -> dict[str, str]:
    """A file of that many bytes, as the contents API takes it."""
    return {"type": "file", "format": "base64", "content": "A" * (size // 3 * 4)}


def _ready(client: HubClient) -> bool:
    servers = client.api("GET", f"/users/{client.username}")["servers"]
    return bool(servers) and bool(servers[""]["ready"])
