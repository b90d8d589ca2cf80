"""A hub and a database host behind the firewall; `LAB_OS=bookworm` makes them Debian 12."""

import os

_data = {"hub_people_trust_each_other": True, "lab_os": os.environ.get("LAB_OS", "trixie")}

hub = [("fw.example.org", _data)]
db = [("fw-db.example.org", _data)]
