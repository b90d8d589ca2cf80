"""A host with someone's own web server; `LAB_OS=bookworm` makes it Debian 12."""

import os

_data = {
    "hub_base_url": "/jupyter/",
    "hub_people_trust_each_other": True,
    "lab_os": os.environ.get("LAB_OS", "trixie"),
}

hub = [("own.example.org", _data)]
