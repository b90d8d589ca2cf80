"""What listens on lab hosts, held against the list that it should be (hubstead.listeners)."""

from __future__ import annotations

from typing import Any

from hubstead.listeners import listeners
from hubstead.operations.machine import Machine, parse_machine
from lab import Lab
from tests.kit.sites import sites

#: Of a bare host
SSHD = {22: {"ssh.service"}}
#: On any free port of loopback: containerd's server for Kubernetes, which nobody asks, and the
#: kernels of people who share a JupyterLab
ANYWHERE = ({"containerd.service"}, {"jupyterlab.service"})


def listening(lab: Lab, host: str) -> dict[int, set[str]]:
    """TCP port to the units that listen on it, on a host of the lab."""
    printed = lab.run(host, f"sudo {Machine().command().get_raw_value()}").stdout
    machine = parse_machine(printed)
    units = {port: {each.unit for each in found} for port, found in machine.listeners.items()}
    return {port: found for port, found in units.items() if found not in ANYWHERE}


def declared(data: dict[str, Any], host: str, **tiers: str) -> dict[int, set[str]]:
    """The same as the list has it, for a host with these settings."""
    site = sites(data, **tiers)[host]
    return SSHD | {each.port: {each.unit} for each in listeners(site) if each.always}
