"""The units of Hubstead: each has the common hardening, and what it lifts has a reason."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hubstead.render import ROOT
from tests.unit.plans import Plan

COMMON = (ROOT / "hardening.conf").read_text()
NETWORK = {"PrivateNetwork", "RestrictAddressFamilies"}
LOW_PORTS = {"AmbientCapabilities", "CapabilityBoundingSet"}
FIREWALL = NETWORK | {
    "CapabilityBoundingSet", "PrivateTmp", "ProcSubset", "ProtectKernelModules",
    "ProtectKernelTunables", "ReadWritePaths", "SystemCallFilter",
}  # fmt: skip
#: What each unit lifts of the common part
LIFTED = {
    "configurable-http-proxy": LOW_PORTS | NETWORK | {"MemoryDenyWriteExecute"},
    "hubstead-certificate": {"CapabilityBoundingSet", "ReadWritePaths", "SystemCallFilter"},
    "hubstead-certificate-check": NETWORK | {"CapabilityBoundingSet", "ReadWritePaths", "UMask"},
    "hubstead-docker-filter": set(),
    "hubstead-firewall": FIREWALL,
    "hubstead-firewall-docker": FIREWALL,
    "hubstead-holder": NETWORK | {"ProtectHome", "ReadWritePaths", "SystemCallFilter"},
    "hubstead-login": NETWORK,
    "hubstead-login-relay": set(),
    "hubstead-pages": LOW_PORTS | NETWORK,
    "hubstead-pam@": NETWORK | {
        "CapabilityBoundingSet", "MemoryDenyWriteExecute", "ReadWritePaths", "SystemCallFilter",
    },
    "hubstead-people-files@": {
        "CapabilityBoundingSet", "ProtectSystem", "RestrictSUIDSGID", "SystemCallFilter",
    },
    "hubstead-people-network": FIREWALL,
    "hubstead-people-servers@": set(),
    "hubstead-port": NETWORK | {"PrivateTmp"},
    "hubstead-server@": NETWORK | {
        "CapabilityBoundingSet", "MemoryDenyWriteExecute", "PrivateTmp", "ProcSubset",
        "ProtectHome", "SystemCallErrorNumber", "SystemCallFilter", "UMask",
    },
    "hubstead-users-image": NETWORK | {"ProtectHome", "ReadWritePaths", "SystemCallFilter"},
    "jupyterhub": NETWORK | {"MemoryDenyWriteExecute", "ReadWritePaths", "UMask"},
    "jupyterlab": NETWORK | {
        "InaccessiblePaths", "MemoryDenyWriteExecute", "ProcSubset", "ReadWritePaths",
        "SystemCallErrorNumber", "SystemCallFilter",
    },
    "traefik": LOW_PORTS | NETWORK,
}  # fmt: skip
#: The owner's own programs run in the first, which do what root does on their host; what the other
#: mounts has to be seen by all
UNCONFINED = {"hubstead-certificate-hooks", "hubstead-server-network@"}
SYSTEMS: list[dict[str, Any]] = [
    {},
    {"hub_disk_quota": "10G"},
    {"proxy": "chp"},
    {"hub_spawner": "systemd"},
    {"hub_authenticator": "pam", "hub_admins": ["ada"]},
    {"application": "jupyterlab", "edge": "nginx"},
]


def written(plan: Plan) -> dict[str, list[str]]:
    """The services that roles write, by name, each in every form that it is written in."""
    found: dict[str, list[str]] = {}
    for data in SYSTEMS:
        run = plan(data=data)
        run.execute()
        for path, text in run.files.items():
            if path.startswith("/etc/systemd/system/") and path.endswith(".service"):
                # one for each role that has a port
                name = re.sub("-port-.*", "-port", Path(path).stem)
                found.setdefault(name, []).append(text)
    return found


def directives(text: str) -> set[str]:
    return {line.partition("=")[0] for line in text.splitlines() if "=" in line and line[0] != "#"}


def lifted(unit: str) -> str:
    """With what the section [Service] of a unit goes on after the common part."""
    before, common, after = unit.partition(COMMON)
    assert common, "without the common hardening"
    service = before.partition("[Service]\n")[2]
    assert service and "\n[" not in service
    assert not directives(service) & directives(COMMON), "before the common part, which undoes it"
    return after.partition("\n[")[0].strip("\n")


def test_each_has_the_common_part_and_says_what_it_lifts_and_why(plan: Plan) -> None:
    units = written(plan)
    # a unit of a package, to which we add a drop-in, is not ours: it may serve others, too
    assert {path.stem for path in ROOT.rglob("*.service")} == set(units)
    found: dict[str, set[str]] = {}
    for name, forms in units.items():
        if name in UNCONFINED:
            assert all("# No sandbox: " in text and COMMON not in text for text in forms)
            continue
        for text in map(lifted, forms):
            assert not text or text.startswith("# "), f"{name} does not say why"
            found.setdefault(name, set()).update(directives(text))
    assert found == LIFTED


@pytest.mark.slow
def test_no_unit_is_exposed_by_systemds_own_measure(plan: Plan, tmp_path: Path) -> None:
    """Of 10 at most 4: "OK" (systemd-analyze(1), security)."""
    for unit, texts in written(plan).items():
        if unit in UNCONFINED:
            continue
        file = tmp_path / f"{unit}.service"
        file.write_text(texts[0])
        command = ["systemd-analyze", "security", "--offline=true", "--threshold=40", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-200:] + done.stderr
