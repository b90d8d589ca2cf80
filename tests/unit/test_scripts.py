"""A role run alone by its script does just what it does in deploys/all.py, on every inventory."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from pyinfra.api import State
from pyinfra.context import ctx_state
from pyinfra_cli.inventory import make_inventory

from hubstead.operations import providers
from tests.unit.plans import PROJECT, Plan, Run

#: Tasks that are no roles
TASKS = "all", "doctor", "offboard", "remove"
SCRIPTS = sorted(path.stem for path in (PROJECT / "deploys").glob("*.py") if path.stem not in TASKS)
INVENTORIES = sorted(path.stem for path in (PROJECT / "inventories").glob("*.py"))
#: Where the inventories alone would leave out a role
ACME = {"tls": "acme", "hub_user_domains": False, "hub_servers_name": "servers.example.org"}
CHOICES: list[dict[str, Any]] = [
    {"proxy": "chp"},
    {"proxy": "chp", **ACME},
    {"proxy": "chp", "edge": "apache"},
    ACME,
    {"firewall": False},
    {"hub_spawner": "systemd"},
    {"hub_authenticator": "pam", "hub_admins": ["ada"]},
    {
        "hub_authenticator": "saml",
        "hub_admins": ["ada"],
        "hub_saml_metadata": "https://id.example.net/saml",
    },
]
CASES = [(name, {}) for name in INVENTORIES] + [("lab", choice) for choice in CHOICES]
#: What all.py does with several roles at once: no role's own work, so no script does it
OVERALL = {"retire", "settled"}

#: Host to the operations that it gets
Operations = dict[str, list[str]]


def read(inventory: str) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The data of an inventory's hosts and its tiers, with hosts that only pretend."""
    with ctx_state.use(State()):
        path = PROJECT / f"inventories/{inventory}.py"
        hosts = list(make_inventory(str(path), cwd=str(PROJECT)))
    data = [host.data.dict() for host in hosts]
    assert all(other == data[0] for other in data), "plan() gives all hosts the same data"
    tiers = {
        tier: [f"@fake/{host.name.strip('@')}" for host in hosts if tier in host.groups]
        for tier in ("edge", "hub", "db")
    }
    tiers = {tier: members for tier, members in tiers.items() if members}
    front = tiers.get("edge", tiers["hub"])[0]
    return {"hub_names": [front.removeprefix("@fake/")], **data[0]}, tiers


def operations(run: Run) -> Operations:
    return {
        host.name: [
            name
            for op in run.state.get_op_order()
            if op in run.state.ops[host]
            for name in run.state.op_meta[op].names
        ]
        for host in run.state.inventory
    }


def of(prefixes: set[str], all_of_them: Operations) -> Operations:
    return {
        host: [name for name in names if name.partition(" | ")[0] in prefixes]
        for host, names in all_of_them.items()
    }


def prefixes(*plans: Operations) -> set[str]:
    """The roles as the names of their operations begin."""
    return {name.partition(" | ")[0] for plan in plans for names in plan.values() for name in names}


@pytest.fixture
def plans(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Operations]]:
    """For each case, what each script does alone, and what all.py does."""
    # what providers give
    for name in ("OIDC", "GITHUB"):
        monkeypatch.setenv(f"HUBSTEAD_HUB_{name}_CLIENT_SECRET", "brought")
    monkeypatch.setattr(providers, "told", lambda *_: defaultdict(str))
    found = []
    for inventory, choice in CASES:
        data, tiers = read(inventory)
        found.append(
            {
                script: operations(plan(script, data=data | choice, **tiers))
                for script in [*SCRIPTS, "all"]
            }
        )
    return found


def test_a_role_alone_does_what_it_does_in_all(plans: list[dict[str, Operations]]) -> None:
    known: set[str] = set()
    for script in SCRIPTS:
        own = prefixes(*(case[script] for case in plans))
        assert own, f"deploys/{script}.py does nothing in any case: add one to CHOICES"
        known |= own
        for (inventory, choice), case in zip(CASES, plans, strict=True):
            assert case[script] == of(own, case["all"]), f"{script} on {inventory} with {choice}"
    rest = prefixes(*(case["all"] for case in plans)) - known
    assert {name for name in rest if not name.startswith("Tier: ")} <= OVERALL


def test_a_script_of_a_role_that_was_not_chosen_says_so(
    plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="pyinfra")
    plan("chp", data={"proxy": "traefik"})
    assert "hub.example.org: no chp here, by the settings: nothing to do" in caplog.text
