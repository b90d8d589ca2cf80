"""A hub and a database host behind the firewall; `LAB_OS=bookworm` makes them Debian 12."""

import os

_data = {"hub_people_trust_each_other": True, "lab_os": os.environ.get("LAB_OS", "trixie")}

# what listens there before the first run, and shall be reached by nobody
hub = [
    ("fw.example.org", {**_data, "firewall_open": [{"port": p, "from": []} for p in (10, 5432)]})
]
db = [("fw-db.example.org", {**_data, "firewall_open": [{"port": 80, "from": []}]})]
