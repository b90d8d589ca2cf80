"""configurable-http-proxy as the front; `LAB_OS=bookworm` makes it Debian 12."""

import os

_data = {"lab_os": os.environ.get("LAB_OS", "trixie"), "proxy": "chp"}

hub = [("chp.example.org", _data)]
