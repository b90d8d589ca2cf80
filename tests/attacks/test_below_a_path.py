"""The same link where the service is below a path, on another port, certified by the owner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.attacks.eve import EACH, Apart, give, log_in, visit
from tests.browser.chromium import chromium, compute, context, open_notebook, trusting_home
from tests.kit.certificates import names_extension, sign
from tests.kit.hub_client import Site
from tests.kit.service import INVENTORY, NAME, Deployed
from tests.kit.support import down

pytestmark = [pytest.mark.slow, pytest.mark.every]

BASE, PORT = "/jupyter/", 8443


class Below(Apart):
    """The host; `root` is that of the owner's authority."""

    root: Path

    @property
    def site(self) -> Site:
        return Site(NAME, self.address, self.root, PORT, BASE, self.servers)


@pytest.fixture
def service(deployed: Deployed, tmp_path: Path) -> Iterator[Below]:
    service = Below(deployed.alone().lab, tmp_path)
    root = sign("An organisation", None, x509.BasicConstraints(ca=True, path_length=0))
    leaf = sign("A host of it", root, names_extension([NAME, EACH]))
    service.root = tmp_path / "root.pem"
    for path, text in (("root", root.pem), ("chain", leaf.pem), ("key", leaf.key_pem)):
        (tmp_path / f"{path}.pem").write_bytes(text)
    yield service
    down(service.lab, INVENTORY)


def test_her_page_gets_nothing_and_people_work(service: Below, tmp_path: Path) -> None:
    brought = (f"tls_certificate={tmp_path}/chain.pem", f"tls_key={tmp_path}/key.pem")
    place = (f"hub_base_url={BASE}", f"edge_https_port={PORT}", "edge=nginx")
    service.choose(EACH, (*place, "tls=files", *brought))
    gift = give(service)
    assert gift == f"https://eve.{NAME}:{PORT}{BASE}user/eve/gift"
    home = trusting_home(tmp_path / "home", service.root)
    with chromium(home, **{NAME: service.address}) as browser:
        got = visit(context(browser), service, "bob", gift)
        assert [what for what, found in got.items() if not str(found).startswith("refused")] == []
        page = context(browser).new_page()
        log_in(page, service, "bob")
        open_notebook(page, service.url("user/bob/lab"))
        assert compute(page, "print(6*7)") == "42\n"
