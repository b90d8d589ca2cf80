"""The shared JupyterLab: its plan, its secrets, and the settings that it refuses."""

from __future__ import annotations

import base64
import re

import pytest
from pyinfra.api.exceptions import PyinfraError
from traitlets.config.loader import PyFileConfigLoader

from hubstead.programs import ROOT
from tests.unit.plans import DEBIAN_12, DEBIAN_13, HUB, Plan

SHARED = {"application": "jupyterlab", "edge": "nginx", "edge_https_port": 30088}
EVERYWHERE = pytest.mark.parametrize("machine", [DEBIAN_13, DEBIAN_12], ids=["trixie", "bookworm"])


@EVERYWHERE
def test_a_bare_host_gets_a_whole_plan(plan: Plan, machine: dict[str, object]) -> None:
    changing = plan(machine=machine, data=SHARED).changing
    for name in (
        "postgres | Create the login's role",
        "userdb | Create the users table",
        "jupyterlab | Run JupyterLab",
        "jupyterlab | Run the login",
        "jupyterlab | Run the relay of websockets",
        "nginx | Run Nginx",
    ):
        assert name in changing
    others = ("docker", "singleuser", "traefik", "jupyterhub", "node")
    assert not [name for name in changing if name.split(" | ")[0] in others]
    assert "postgres | Create the Hub's role" not in changing


def test_the_login_has_its_own_key_and_role_and_no_other_secret(plan: Plan) -> None:
    run = plan(data=SHARED)
    run.execute()
    texts = [text for text in run.sent.inputs if re.fullmatch("[A-Za-z0-9+/=]+", text)]
    written = [base64.b64decode(text).decode() for text in texts]
    lines = [text for text in written if "user=userdb_login" in text]
    assert len(lines) == 1
    password = lines[0].split("password=")[1].split()[0]
    keys = [text for text in written if re.fullmatch(r"[0-9a-f]{64}\s*", text)]
    assert len(keys) == 1 and password not in keys[0]
    assert not [command for command in run.sent.commands if password in command]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"edge": "none"}, ["needs an edge", "nginx"]),
        ({"login_session_minutes": 0}, ["`login_session_minutes` = 0"]),
        ({"jupyterlab_memory_limit": "lots"}, ["`jupyterlab_memory_limit` = 'lots'"]),
        ({"jupyterlab_packages": ["gcc=12"]}, ["`jupyterlab_packages`", "not a package name"]),
        ({"login_session_minute": 5}, ["did you mean `login_session_minutes`"]),
    ],
)
def test_wrong_settings_are_named(plan: Plan, data: dict[str, object], words: list[str]) -> None:
    with pytest.raises(PyinfraError) as caught:
        plan(data=SHARED | data)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("served", ["jupyterhub", "jupyterlab"])
def test_one_application_does_not_take_over_from_the_other(plan: Plan, served: str) -> None:
    other = {"jupyterhub": SHARED, "jupyterlab": {}}[served]
    with pytest.raises(PyinfraError, match=f"{HUB} serves people by {served}"):
        plan(machine=DEBIAN_13 | {"bare": False, "roles": [served]}, data=other)


def test_its_pages_tell_the_token_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/var/lib/jupyterlab")
    c = PyFileConfigLoader(str(ROOT / "jupyter_server_config.py")).load_config()
    hook = c.ServerApp.tornado_settings["page_config_hook"]
    assert hook(None, {"token": "abc", "other": 1}) == {"token": "", "other": 1}
    assert c.ServerApp.root_dir == "/var/lib/jupyterlab/notebooks"
