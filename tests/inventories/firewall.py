"""A hub and a database host behind the firewall; `LAB_OS=bookworm` makes them Debian 12."""

import os

_data = {"lab_os": os.environ.get("LAB_OS", "trixie")}

hub = [("fw.example.org", _data)]
db = [("fw-db.example.org", _data)]
