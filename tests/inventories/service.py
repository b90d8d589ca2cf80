"""One host with the whole service, which the tests use; `LAB_OS=bookworm` makes it Debian 12."""

import os

_data = {
    "lab_os": os.environ.get("LAB_OS", "trixie"),
    "lab_names": ["www.service.example.org", "servers.service.example.org"],
    "hub_user_domains": True,
}

hub = [("service.example.org", _data)]
