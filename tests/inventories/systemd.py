"""The host whose people have servers without Docker; `LAB_OS=bookworm` makes it Debian 12."""

import os

_data = {
    "lab_os": os.environ.get("LAB_OS", "trixie"),
    "hub_user_domains": True,
    "hub_spawner": "systemd",
    "hub_shared_files": {"/srv/course": "/course"},
}

hub = [("systemd.example.org", _data)]
