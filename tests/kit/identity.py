"""A lab host that plays who vouches for people: OpenID Connect, SAML, GitHub and Google, with real
forms.

OpenID Connect is npm's oidc-provider, SAML is pysaml2 (saml_server.py); GitHub and Google are what
oauthenticator asks of them (identity_server/oauth.mjs). Other lab hosts of this checkout find it
under all its names by themselves.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from lab import Lab, state
from tests.kit import forms
from tests.kit.authority import Authority
from tests.kit.hub_client import HubClient, Site
from tests.kit.support import PROJECT, down, eventually

INVENTORY = PROJECT / "tests/inventories/identity.py"
NAME = "id.example.net"
SERVER = Path(__file__).with_name("identity_server")
ETC, OPT = "etc/identity", "opt/identity"


@dataclass(frozen=True)
class Person:
    """Somebody who logs in with a name (`preferred_username`, GitHub's `login`) and a password.

    + groups: the claim of OpenID Connect; at GitHub, the teams of each of one's organisations.
    + domain: Google's `hd`, of an organisation's accounts.
    + sub: a number, which is also GitHub's and Google's `id`; by default one for each name.
    """

    password: str
    groups: tuple[str, ...] = ()
    email: str | None = None
    email_verified: bool = True
    domain: str | None = None
    sub: str | None = None


class IdentityProvider:
    """The host, up and installed; `ca` is in PEM, and all of `names` lead to its address."""

    def __init__(self, lab: Lab, authority: Authority, client_secret: str) -> None:
        self.lab, self.ca = lab, authority.root
        self._authority, self._host = authority, lab.host(NAME)
        self.issuer, self.address = f"https://{NAME}", self._host.address
        self.names = dict.fromkeys((NAME, *self._host.names), self.address)
        self.client_id, self.client_secret = "hub", client_secret

    @property
    def trusted(self) -> list[str]:
        """What `base_ca_certificates` is in a deploy to lab hosts that are to trust it."""
        return [str(path) for path in (*state.authorities(self.lab.hosts()), self.ca)]

    def install(
        self, callbacks: Iterable[str], after_logout: Iterable[str], token_seconds: int
    ) -> None:
        """Run the server, with nobody in it."""
        etc, opt = self._host.root / ETC, self._host.root / OPT
        shutil.rmtree(opt, ignore_errors=True)
        shutil.copytree(_node(), opt)
        for script in (*SERVER.glob("*.mjs"), *SERVER.glob("*.py")):
            shutil.copy(script, opt)
        for unit in SERVER.glob("*.service"):
            shutil.copy(unit, self._host.root / "etc/systemd/system")
        self._authority.issue(self.names)
        etc.mkdir(exist_ok=True)
        for name, source in zip(("certificate", "key"), self._authority.pair(), strict=True):
            shutil.copy(source, etc / f"{name}.pem")
        settings = {
            "name": NAME,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "callbacks": list(callbacks),
            "after_logout": list(after_logout),
            "token_seconds": token_seconds,
        }
        self._write("settings", settings)
        self.people({})
        self.org_members({})
        self._systemctl("daemon-reload")
        self._systemctl("enable --quiet identity")
        self._systemctl("restart identity")
        eventually("the identity provider answers", self.answers, 60)

    def install_saml(self) -> None:
        """Run the provider of SAML too, which knows no service."""
        etc = self._host.root / ETC
        self.lab.run(
            NAME,
            "sudo sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy"
            " --no-install-recommends python3-pysaml2 xmlsec1'",
        )
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={NAME}",
             "-keyout", etc / "saml-key.pem", "-out", etc / "saml-certificate.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        (etc / "services").mkdir(exist_ok=True)
        self._systemctl("enable --quiet --now identity-saml")

    def knows(self, metadata: str) -> None:
        """This is the service that may ask by SAML."""
        state.write(self._host.root / ETC / "services/hub.xml", metadata)
        self._systemctl("restart identity-saml")

    def people(self, people: Mapping[str, Person]) -> None:
        """These are all the people from now on: others' tokens and logins are refused."""
        self._write(
            "people",
            {
                name: {**vars(person), "sub": person.sub or str(zlib.crc32(name.encode()))}
                for name, person in people.items()
            },
        )

    def org_members(self, organisations: Mapping[str, Iterable[str]]) -> None:
        """These are all of GitHub's organisations from now on, with the names of their members."""
        self._write("organisations", {name: list(of) for name, of in organisations.items()})

    def stop(self) -> None:
        """It refuses connections, under all its names; who was logged in still is after `start`."""
        self._systemctl("kill --signal=USR2 identity")
        eventually("the identity provider is unreachable", lambda: not self.answers(), 30)

    def start(self) -> None:
        self._systemctl("kill --signal=HUP identity")
        eventually("the identity provider answers", self.answers, 30)

    def answers(self) -> bool:
        """Whether its port is open."""
        try:
            socket.create_connection((self.address, 443), timeout=5).close()
        except OSError:
            return False
        return True

    def log_in(
        self, client: HubClient, name: str, password: str, path: str = "hub/oauth_login"
    ) -> httpx.Response:
        """Log in to the Hub as a browser does, by the provider's form where it shows one.

        Returns where that ends: at the provider's page where it refuses, or else with the Hub's
        answer to what the provider says, a redirect for whom it lets in.

        + path: where the Hub's button leads.
        """
        page = self.open(client, path)
        page = self._submit(client, page, username=name, password=password)
        if "SAMLResponse" in page.text:
            # a form that a browser's script sends on
            page = self._submit(client, page)
        return page

    def log_out(self, client: HubClient, path: str = "hub/logout") -> httpx.Response:
        """Log out of the Hub, and of the provider where the Hub leads to its form."""
        return self._submit(client, self.open(client, path))

    def open(self, client: HubClient, path: str) -> httpx.Response:
        """Open one of the Hub's pages, and go with it to the provider, and back."""
        return self._follow(client, client.request("GET", f"{client.site.base}{path}"))

    def _submit(self, client: HubClient, page: httpx.Response, **fields: str) -> httpx.Response:
        """Fill in the form of a page that is the provider's; another page is as it is."""
        if page.url.host not in self.names or "<form" not in page.text:
            return page
        url = page.url.join(forms.action(page.text))
        request = client.http.build_request("POST", url, data=forms.hidden(page.text) | fields)
        return self._follow(client, self._send(client, request))

    def _follow(self, client: HubClient, answer: httpx.Response) -> httpx.Response:
        """Those redirects that lead to the provider, within it, and from it."""
        while following := answer.next_request:
            if self.names.keys().isdisjoint((answer.url.host, following.url.host)):
                break
            answer = self._send(client, following)
        return answer

    def _send(self, client: HubClient, request: httpx.Request) -> httpx.Response:
        """To the Hub or the provider, with the client's cookies for each."""
        if request.url.host not in self.names:
            return client.http.send(request)
        with Site(NAME, self.address, self.ca).client() as http:
            http.cookies = client.http.cookies.jar
            return http.send(request)

    def _write(self, name: str, value: object) -> None:
        state.write(self._host.root / ETC / f"{name}.json", json.dumps(value))

    def _systemctl(self, command: str) -> None:
        self.lab.run(NAME, f"sudo systemctl {command}")


@contextmanager
def identity_provider(
    lab: Lab,
    directory: Path,
    *,
    callbacks: Iterable[str],
    after_logout: Iterable[str] = (),
    token_seconds: int = 30,
    client_secret: str = "a-quiet-heron-guards-17-gates",
) -> Iterator[IdentityProvider]:
    """The provider, on a host of its own for as long as this lasts.

    + directory: of its authority, which stays the same where there is one.
    + callbacks: where logins may lead back to, such as https://NAME/hub/oauth_callback.
    + after_logout: where logouts may.
    + token_seconds: how long access tokens are good for, but GitHub's, which last.
    """
    lab.up(INVENTORY)
    try:
        provider = IdentityProvider(lab, Authority(directory), client_secret)
        provider.install(callbacks, after_logout, token_seconds)
        yield provider
    finally:
        down(lab, INVENTORY)


def _node() -> Path:
    """Node.js and the server's packages, installed once on this machine."""
    lock, node = SERVER / "package-lock.json", PROJECT / "locks/node.in"
    version = hashlib.sha256(lock.read_bytes() + node.read_bytes()).hexdigest()[:10]
    directory = state.CACHE / f"identity-{version}"
    if not directory.exists():
        new = state.CACHE / f".{directory.name}.{os.getpid()}"
        new.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SERVER / name, new)
        uv = Path(sys.executable).with_name("uv")
        tool = [str(uv), "tool", "run", "-q", "--from", node.read_text().strip()]
        npm = "npm ci --ignore-scripts --no-audit --no-fund"
        subprocess.run([*tool, *npm.split()], cwd=new, check=True, capture_output=True)
        path = [*tool, "node", "-p", "process.execPath"]
        found = subprocess.run(path, check=True, capture_output=True, text=True).stdout
        shutil.copy(found.strip(), new / "node")
        with suppress(OSError):  # another process was first
            new.rename(directory)
        shutil.rmtree(new, ignore_errors=True)
    return directory
