"""Every front of the whole service: a person in Chromium over a real certificate, and the switch.

One host goes from front to front, and its users' servers with it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.acme import Pebble
from tests.browser.chromium import (
    PATIENCE,
    chromium,
    compute,
    context,
    open_notebook,
    trusting_home,
)
from tests.converge.test_cut import differences
from tests.kit.hub_client import Kernel, Site, patiently
from tests.kit.service import INVENTORY, NAME, PASSWORD, STRANGER, Deployed, Service
from tests.kit.support import Run, down, eventually, params

pytestmark = pytest.mark.slow

FRONTS = {
    "traefik": (),
    "chp": ("proxy=chp",),
    "nginx": ("edge=nginx",),
    "apache": ("proxy=chp", "edge=apache"),
}
#: Those that `make test` leaves to `make test-all`; test_chp.py and test_edges.py are about them
FURTHER = ("chp", "apache")
COMBINATIONS = {
    "traefik": (),
    "traefik behind nginx": ("edge=nginx",),
    "chp behind apache": ("proxy=chp", "edge=apache"),
    "chp": ("proxy=chp",),
    "chp behind nginx": ("proxy=chp", "edge=nginx"),
    "traefik behind apache": ("edge=apache",),
}


#: They stay beside the current one (docker_image_keep); a bare host never had one
FORGET_FORMER_IMAGES = """
current=$(cat /opt/hubstead/singleuser/image)
docker image ls --format '{{.Repository}}:{{.Tag}}' hubstead/singleuser |
    grep -vxF "$current" | xargs -r docker image rm --force >/dev/null
"""


class Fronts(Service):
    """The host; `root` vouches for what it serves at the moment."""

    root = ""

    @property
    def site(self) -> Site:
        file = self.directory / "root.pem"
        file.write_text(self.root or self.lab.run(NAME, "cat /etc/hubstead/tls/ca.pem").stdout)
        return Site(NAME, self.address, file, servers=self.servers)

    def switch(self, settings: tuple[str, ...]) -> Run:
        arguments = [word for each in settings for word in ("--data", each)]
        return self.run(*arguments, "deploys/all.py")

    def serial(self) -> str:
        """Of the certificate that a visitor is shown; empty where none is, for a moment."""
        ask = f"openssl s_client -connect {NAME}:443 -servername {NAME} </dev/null 2>/dev/null"
        return self.sudo(f"{ask} | openssl x509 -noout -serial 2>/dev/null || true").strip()


@pytest.fixture(scope="module")
def service(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronts]:
    """The host that all tests share, which trusts the ACME server besides."""
    lab = deployed.alone().lab
    lab.up(INVENTORY, with_acme=True)
    service = Fronts(lab, tmp_path_factory.mktemp("fronts"))
    trusting = service.switch(())
    assert trusting.status == 0, trusting.end
    yield service
    down(lab, INVENTORY)


@pytest.fixture(scope="module")
def acme(service: Fronts) -> Pebble:
    return Pebble(service.lab)


@pytest.fixture(scope="module")
def fresh(service: Fronts) -> dict[str, Any]:
    """What the deploys of a bare host made of it."""
    return service.manifest()


@pytest.fixture(scope="module")
def testssl(acme: Pebble) -> Callable[[str], dict[str, str]]:
    """Rates the service as a visitor on the helper host sees it."""
    lab = Lab()
    install = "sudo apt-get install -qy --no-install-recommends testssl.sh bsdextrautils"
    lab.run(acme.name, install)

    def rate(root: str) -> dict[str, str]:
        lab.run(acme.name, "cat >root.pem", input=root)
        # what the rating needs: protocols, ciphers, defaults, headers, vulnerabilities
        what = "-p -s -f -S -h -U --add-ca root.pem"
        script = f"testssl --quiet {what} --jsonfile r.json --overwrite {NAME}"
        lab.run(acme.name, f"rm -f r.json; timeout 500 {script} >/dev/null", check=False)
        found = json.loads(lab.run(acme.name, "cat r.json").stdout)
        return {entry["id"]: entry["finding"] for entry in found}

    return rate


@pytest.fixture(scope="module")
def at_work(service: Fronts, fresh: Any) -> Iterator[Kernel]:
    """A kernel of somebody who was at work before the first switch."""
    with service.person("eve").kernel() as kernel:
        kernel.run("memory = 'kept'")
        yield kernel


@pytest.fixture(scope="module", params=params(FRONTS, FURTHER))
def front(request: pytest.FixtureRequest, service: Fronts, acme: Pebble, at_work: Kernel) -> str:
    names, servers = json.dumps([NAME, f"www.{NAME}"]), f"servers.{NAME}"
    # an ACME server gives no wildcard by the challenge that is answered
    apart = ("hub_user_domains=false", f"hub_servers_name={servers}")
    settings = (*FRONTS[request.param], "tls=acme", f"hub_names={names}", *apart)
    run = service.switch(settings)
    assert run.status == 0, run.end
    service.root, service.servers = acme.root(), servers
    service.forget()
    again = service.switch(settings)
    assert (again.status, again.changed) == (0, []), again.end
    return str(request.param)


def test_a_person_computes_over_its_certificate(
    front: str, service: Fronts, tmp_path: Path
) -> None:
    service.person("ada")
    home = trusting_home(tmp_path / "home", service.site.ca)
    with chromium(home, **{NAME: service.address}) as browser:
        page = context(browser).new_page()
        answer = page.goto(f"http://{NAME}/")
        assert answer is not None and answer.ok and page.url.startswith(f"https://{NAME}/")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        page.get_by_label("Username").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/user/ada/lab**", timeout=PATIENCE)
        open_notebook(page, service.site.url("/user/ada/lab"))
        assert compute(page, "print(6*7)") == "42\n"


def test_a_renewal_costs_nobody_a_kernel(front: str, service: Fronts) -> None:
    with service.person("ada").kernel() as kernel:
        kernel.run("memory = 'kept'")
        old = service.serial()
        service.sudo("hubstead-certificate renew")
        eventually("a new serial", lambda: service.serial() not in ("", old), 60)
        patiently(kernel.connect)
        assert kernel.run("print(memory)") == "kept\n"


def test_its_tls_is_rated_a(front: str, service: Fronts, testssl: Any) -> None:
    found = testssl(service.root)
    assert found["overall_grade"] in ("A", "A+"), found
    for old in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
        assert "not offered" in found[old]
    assert "offered" in found["TLS1_2"] and "offered" in found["TLS1_3"]
    assert "365 days" in found["HSTS_time"]


@pytest.mark.every
def test_the_way_round_equals_a_fresh_deploy_and_keeps_kernels(
    service: Fronts, fresh: dict[str, Any], at_work: Kernel
) -> None:
    """From the last of the fronts to the host as its first deploy left it, before all of them."""
    service.root, service.servers = "", f"*.{NAME}"
    service.forget()
    run = service.switch(())
    assert run.status == 0, run.end
    assert list(differences(settled(fresh), settled(service.manifest()))) == []
    _check_kept(at_work, service.site)


def _check_kept(kernel: Kernel, site: Site) -> None:
    kernel.client.move(site)
    patiently(kernel.connect)
    assert kernel.run("print(memory)") == "kept\n"


def _whole_tour() -> list[str]:
    """Each switch between two combinations, in an order that ends where it began."""
    edges = set(itertools.permutations(COMBINATIONS, 2))
    stack, tour = ["traefik"], []
    while stack:
        following = sorted(edge for edge in edges if edge[0] == stack[-1])
        if following:
            edges.remove(following[0])
            stack.append(following[0][1])
        else:
            tour.append(stack.pop())
    return tour[::-1]


@pytest.mark.every
def test_a_switch_equals_a_fresh_deploy_and_keeps_kernels(
    service: Fronts, fresh: dict[str, Any]
) -> None:
    """The last one is compared with the first deploy of the host, others with their like."""
    service.root, service.servers = "", f"*.{NAME}"
    service.forget()
    known = {"traefik": fresh}
    with service.person("ada").kernel() as kernel:
        kernel.run("memory = 'kept'")
        for name in _whole_tour():
            print(f"switch to {name}")
            run = service.switch(COMBINATIONS[name])
            assert run.status == 0, run.end
            again = service.switch(COMBINATIONS[name])
            assert (again.status, again.changed) == (0, []), again.end
            _check_kept(kernel, service.site)
            found = settled(service.manifest())
            expected = known.setdefault(name, found)
            leftovers = "\n".join(differences(settled(expected), found))
            assert not leftovers, f"{name}\n{leftovers}"


def settled(manifest: dict[str, Any]) -> dict[str, Any]:
    """Without the people who came in the meantime, the routes to their servers, and releases of the
    Hub that stay beside the current one (python_keep_releases): each proxy has one.
    """
    releases = "/opt/hubstead/hub/releases/"
    current = releases + manifest["files"]["/opt/hubstead/hub/current"][-1].rpartition("/")[2]
    files = {
        path: entry
        for path, entry in manifest["files"].items()
        if "routes" not in path and (not path.startswith(releases) or path.startswith(current))
    }
    return {key: value for key, value in manifest.items() if key != "people"} | {"files": files}


@pytest.mark.every
@pytest.mark.parametrize("name", COMBINATIONS)
def test_each_combination_from_a_bare_host(service: Fronts, name: str) -> None:
    # an account of the tests that a bare host does not have
    service.sudo(f"! id {STRANGER} >/dev/null 2>&1 || userdel --remove {STRANGER}")
    service.sudo(FORGET_FORMER_IMAGES)
    switched = service.switch(COMBINATIONS[name])
    assert switched.status == 0, switched.end
    before = settled(service.manifest())
    service.lab.reset(NAME)
    fresh = service.switch(COMBINATIONS[name])
    assert fresh.status == 0, fresh.end
    assert list(differences(settled(service.manifest()), before)) == []
