"""The host whose deploys are cut: Debian 12, unless LAB_OS says otherwise."""

import os

hub = [("cut.example.org", {"lab_os": os.environ.get("LAB_OS", "bookworm")})]
