"""A host whose name has no dot, and whose account for deploys types a password for sudo."""

import os

_data = {
    "ssh_user": "paula",
    "_sudo_password": os.environ.get("SUDO_PASSWORD"),
    "hub_people_trust_each_other": True,
    "lab_os": os.environ.get("LAB_OS", "trixie"),
}

hub = [("plain", _data)]
