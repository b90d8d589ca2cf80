"""One host with the whole service, to be put on a small disk; `LAB_OS=bookworm`: Debian 12."""

import os

_data = {
    "lab_os": os.environ.get("LAB_OS", "trixie"),
    "hub_user_domains": True,
}

hub = [("small.example.org", _data)]
