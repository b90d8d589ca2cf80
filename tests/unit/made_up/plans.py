"""Plans of a tree to which a proxy and an authenticator were added, as one module each.

tests/unit/test_parts.py runs them in a copy of the tree.
"""

from __future__ import annotations

import json

import pytest
from pyinfra.api.exceptions import PyinfraError

from hubstead.reference import render
from hubstead.settings.model import check
from tests.unit.plans import DEBIAN_13, TRUST, Plan

CHOICES = {"proxy": "guide", "hub_authenticator": "guest-book"}


def test_the_hub_gets_what_they_add(plan: Plan) -> None:
    run = plan(data=CHOICES | {"guest_book_pages": 7})
    run.execute()
    traits = json.loads(run.files["/etc/jupyterhub/settings.json"])["traits"]
    assert traits["JupyterHub"]["proxy_class"] == "guide"
    assert traits["JupyterHub"]["authenticator_class"] == "guest-book"
    assert traits["GuestBook"] == {"pages": 7}
    assert "TraefikFileProviderProxy" not in traits and "UsersTableAuthenticator" not in traits
    unit = run.files["/etc/systemd/system/jupyterhub.service"]
    assert "LoadCredential=guide:/etc/jupyterhub/credentials/guide\n" in unit
    assert "LoadCredential=users:" not in unit and "LoadCredential=proxy:" not in unit
    assert "# it draws maps\nPrivateDevices=no\n" in unit
    needs = (
        "docker.service hubstead-holder.service hubstead-docker-filter.socket"
        " hubstead-people-files.socket guide.service"
    )
    assert f"After=network-online.target {needs}" in unit
    assert run.files["/etc/jupyterhub/credentials/guide"] not in ("", json.dumps(traits))


def test_they_are_deployed_and_asked_in_their_place(plan: Plan) -> None:
    names = plan(data=CHOICES).names
    assert not [name for name in names if name.startswith("traefik")]
    place = [names.index(name) for name in ("guide | Run the guide", "jupyterhub | Run JupyterHub")]
    assert place == sorted(place)
    assert "verify | Ask the guide" in names
    assert "verify | Ask the users table" not in names


def test_they_go_again(plan: Plan) -> None:
    run = plan(machine=DEBIAN_13 | {"bare": False, "roles": ["guide", "jupyterhub"]})
    assert run.names.index("retire | guide | Remove the guide") < run.names.index(
        "traefik | Run Traefik"
    )


def test_their_ports_are_looked_after(plan: Plan) -> None:
    taken = DEBIAN_13 | {"listeners": {"4243": [["blog", "/system.slice/blog.service"]]}}
    with pytest.raises(PyinfraError, match=r"port 4243 is taken by blog \(blog\.service\)"):
        plan(machine=taken, data=CHOICES)


def test_settings_know_them() -> None:
    assert check(TRUST | CHOICES) == []
    (mistake,) = check({"proxy": "gide"})
    assert "'chp', 'guide' or 'traefik'" in mistake
    (mistake,) = check(TRUST | {"guest_book_page": 3})
    assert "did you mean `guest_book_pages`?" in mistake
    assert '`"users-table"` or `"github"` or `"google"` or `"guest-book"`' in render()
