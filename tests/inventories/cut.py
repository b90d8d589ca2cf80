"""The host whose deploys are cut: Debian 12, unless LAB_OS says otherwise."""

import os

_data = {"lab_os": os.environ.get("LAB_OS", "bookworm"), "hub_user_domains": True}

hub = [("cut.example.org", _data)]
