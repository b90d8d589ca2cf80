"""Bare hosts that ask the lab's ACME server for certificates, one of each release."""

hub = [
    (
        "acmetest12.example.org",
        {"lab_os": "bookworm", "lab_names": ["www12.example.org"]},
    ),
    (
        "acmetest13.example.org",
        {"lab_names": ["www13.example.org"]},
    ),
]
