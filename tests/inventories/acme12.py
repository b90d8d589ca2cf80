"""A host with a certificate by ACME, on Debian 12."""

hub = [
    (
        "acme12.example.org",
        {"lab_os": "bookworm", "lab_names": ["www.acme12.example.org", "hub.acme12.example.org"]},
    ),
]
