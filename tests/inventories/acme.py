"""A host with a certificate by ACME, under several names, which is switched from front to front;
`LAB_OS=bookworm` makes it Debian 12."""

import os

_data = {
    "hub_people_trust_each_other": True,
    "tls": "acme",
    "lab_os": os.environ.get("LAB_OS", "trixie"),
    "lab_names": ["www.issued.example.org", "hub.issued.example.org"],
}

hub = [("issued.example.org", _data)]
