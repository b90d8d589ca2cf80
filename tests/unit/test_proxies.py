"""configurable-http-proxy: which of its parts a host gets, and loses."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.unit.plans import DEBIAN_13, Plan, Run

CHP = {"proxy": "chp"}


def configuration(run: Run) -> dict[str, Any]:
    """What the proxy is told, in a run that was executed."""
    written = [base64.b64decode(text) for text in run.sent.inputs if text.startswith("ewog")]
    (text,) = [text for text in written if b'"api_port"' in text]
    return dict(json.loads(text))


def roles(run: Run) -> set[str]:
    return {name.rpartition(" | ")[0] for name in run.names}


def test_chp_is_the_front(plan: Plan) -> None:
    run = plan(data=CHP)
    assert "chp" in roles(run) and "traefik" not in roles(run)
    run.execute()
    told = configuration(run)
    assert (told["port"], told["http_port"], told["address"], told["edge"]) == (443, 80, None, [])
    assert "Strict-Transport-Security" in told["headers"]


def test_behind_an_edge_it_listens_there_and_believes_the_edge(plan: Plan) -> None:
    run = plan("chp", data=CHP | {"edge": "nginx"})
    run.execute()
    told = configuration(run)
    assert (told["port"], told["http_port"], told["address"]) == (8000, None, "127.0.0.1")
    assert told["edge"] == ["127.0.0.1", "::1"]
    assert told["headers"] == {}


def test_a_switch_removes_the_other_first(plan: Plan) -> None:
    run = plan(machine=DEBIAN_13 | {"bare": False, "roles": ["chp", "redirect"]})
    gone = [name for name in run.names if name.startswith("retire | ")]
    assert gone[0] == "retire | redirect | Stop lighttpd"
    assert "retire | chp | Remove the user chp" in gone
    assert run.names.index(gone[-1]) < run.names.index("traefik | Run Traefik")
    back = plan(machine=DEBIAN_13 | {"bare": False, "roles": ["traefik"]}, data=CHP)
    assert "retire | traefik | Stop Traefik" in back.names
    assert not [name for name in back.names if name.startswith("traefik")]


def test_a_lighttpd_of_someone_else_stays(plan: Plan) -> None:
    remove = "retire | redirect | Remove what the package leaves behind"
    led = DEBIAN_13 | {"bare": False, "roles": ["chp", "redirect"]}
    theirs = {"dpkg-query -W": "ii |lighttpd"}
    assert remove not in plan(machine=led, data=CHP, responses=theirs).names
    noted = theirs | {"/var/lib/hubstead/packages/redirect": "/var/lib/hubstead/packages/redirect"}
    assert remove in plan(machine=led, data=CHP, responses=noted).names


def test_npm_asks_the_registry_of_the_settings(plan: Plan) -> None:
    def written(**data: str) -> list[bytes]:
        run = plan("node", data=data)
        run.sent.inputs.clear()
        run.execute()
        return [base64.b64decode(text) for text in run.sent.inputs if text.startswith("aHR0cHM6")]

    assert written() == []
    assert written(base_npm_registry="https://npm.example.org/") == [b"https://npm.example.org/\n"]
