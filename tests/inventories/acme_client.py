"""A bare host that asks the lab's ACME server for certificates."""

hub = [
    ("acmetest13.example.org", {"lab_names": ["acmetest.example.org"]}),
]
